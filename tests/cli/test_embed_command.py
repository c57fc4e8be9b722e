from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from glmstore.models.base import ModelEntry
from glmstore.models.catalogue import MODELS
from glmstore.sequences.normalise import seq_key
from glmstore.store import FeatureStore

Invoke = Callable[..., Any]


def test_a_fasta_file_is_embedded_once_and_found_the_second_time(glmstore: Invoke, fasta: Path) -> None:
    first = json.loads(glmstore("embed", fasta, "--model", "kmer2", "--json").stdout)
    second = json.loads(glmstore("embed", fasta, "--model", "kmer2", "--json").stdout)
    assert (first["records"], first["asked"], first["present"], first["computed"]) == (3, 2, 0, 2)
    assert (second["asked"], second["present"], second["computed"]) == (2, 2, 0)
    assert first["view"] == second["view"]


def test_people_are_told_the_view_and_how_much_was_computed(glmstore: Invoke, fasta: Path) -> None:
    glmstore("embed", fasta, "--model", "kmer2")
    said = glmstore("embed", fasta, "--model", "kmer2").stdout.splitlines()
    assert said[0].startswith("kmer2/0/mean/forward/float16@")
    assert "2 sequences: 0 computed" in said[1]
    assert "2 already in the store (3 records read)" in said[1]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz", ".txt", ".fa.gz"])
def test_every_kind_of_file_gives_the_same_sequences(
    glmstore: Invoke, store: Path, tmp_path: Path, suffix: str
) -> None:
    text = {
        ".csv": "name,sequence\na,ACGT\nb,TTTT\n",
        ".tsv": "name\tsequence\na\tACGT\nb\tTTTT\n",
        ".txt": "ACGT\n\nTTTT\n",
        ".fa": ">a\nAC\nGT\n>b\nTTTT\n",
    }[suffix.removesuffix(".gz")]
    path = tmp_path / f"input{suffix}"
    path.write_bytes(gzip.compress(text.encode()) if suffix.endswith(".gz") else text.encode())
    assert glmstore("embed", path, "--model", "kmer1").exit_code == 0
    assert FeatureStore.open(store, create=False).sequences()["sequence"].to_list() == ["ACGT", "TTTT"]


def test_layer_pooling_strand_and_dtype_make_the_view(glmstore: Invoke, fasta: Path) -> None:
    options = ["--pooling", "tokens", "--strand", "reverse", "--dtype", "uint8", "--json"]
    done = json.loads(glmstore("embed", fasta, "-m", "onehot", *options).stdout)
    assert done["view"].startswith("onehot/0/tokens/reverse/uint8@")


def test_all_layers_are_filled_at_once_and_reported_one_by_one(
    glmstore: Invoke, store: Path, fasta: Path
) -> None:
    model = "rand_init:gpn-mini:0"
    glmstore("embed", fasta, "-m", model, "--layer", "0,mid")
    done = json.loads(glmstore("embed", fasta, "-m", model, "--layer", "all", "--json").stdout)
    assert [d["view"].split("/")[1] for d in done] == [str(layer) for layer in range(9)]
    assert [d["computed"] for d in done] == [0, 2, 2, 2, 0, 2, 2, 2, 2]
    assert FeatureStore.open(store, create=False).views()["rows"].to_list() == [2] * 9


def test_a_sequence_past_the_limit_is_embedded_through_windows_only_when_asked(
    glmstore: Invoke, refused: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "long.txt"
    path.write_text("ACGTTGCA" * 20 + "\nACGT\n")
    entry = MODELS["gpn-mini"]
    spec = entry.spec.model_copy(update={"max_nt": 100})
    short = ModelEntry(spec, lambda device: _limited(entry.load(device), spec))
    monkeypatch.setitem(MODELS._entries, "gpn-mini", short)
    assert "windowed-mean" in refused("embed", path, "--model", "gpn-mini")
    assert (
        "2 sequences: 2 computed"
        in glmstore("embed", path, "--model", "gpn-mini", "--layer", "1", "--pooling", "windowed-mean").stdout
    )


def _limited(model: Any, spec: Any) -> Any:
    model.spec = spec
    return model


def test_devices_are_named_by_the_user(glmstore: Invoke, fasta: Path) -> None:
    assert glmstore("embed", fasta, "--model", "kmer1", "--device", "cpu").exit_code == 0


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("foo", "'foo' is no torch device; here there are: cpu"),
        ("cuda:77", "this machine has no device 'cuda:77'; here there are: cpu"),
    ],
)
def test_a_device_that_is_not_there_is_refused_with_those_that_are(
    glmstore: Invoke, store: Path, fasta: Path, device: str, said: str
) -> None:
    result = glmstore("embed", fasta, "--model", "kmer1", "--device", device)
    assert result.exit_code == 2
    assert said in result.stderr
    assert FeatureStore.open(store).views().is_empty()


def test_store_names_another_store(glmstore: Invoke, store: Path, fasta: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert glmstore("embed", fasta, "--model", "kmer1", "--store", other).exit_code == 0
    assert FeatureStore.open(other, create=False).views().height == 1
    assert not store.exists()


def test_lower_case_and_u_are_normalised_and_said_once_on_stderr(
    glmstore: Invoke, store: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mixed.txt"
    path.write_text("acgu\nACGT\nGGUU\n")
    result = glmstore("embed", path, "--model", "kmer1", "--json")
    assert json.loads(result.stdout)["asked"] == 2
    notes = [line for line in result.stderr.splitlines() if "normalised" in line]
    assert notes == ["note: normalised sequences: 1 with lower case, 2 with U (read as T)"]
    assert FeatureStore.open(store, create=False).sequences()["sequence"].to_list() == ["ACGT", "GGTT"]


def test_ambiguous_letters_become_n_only_when_asked(
    glmstore: Invoke, refused: Invoke, tmp_path: Path
) -> None:
    path = tmp_path / "iupac.txt"
    path.write_text("ACGR\n")
    assert "--ambiguous N" in refused("embed", path, "--model", "kmer1")
    assert glmstore("embed", path, "--model", "kmer1", "--ambiguous", "N").exit_code == 0


@pytest.mark.parametrize(
    ("name", "text", "record", "cure"),
    [
        ("bad.fa", ">ok\nACGT\n>empty\n>more\nACGT\n", "bad.fa record 'empty'", "the sequence is empty"),
        ("bad.csv", "sequence,y\nACGT,1\n,2\n", "bad.csv line 3, column 'sequence'", "the sequence is empty"),
        ("bad.txt", "ACGT\nACXT\n", "bad.txt line 2", "letter 'X' at position 2 (0-based)"),
        ("bad.csv", "sequence,y\nACGT,1\nACGT\n", "bad.csv line 3", "1 fields, but the header names 2"),
        ("bad.csv", "sequence,y\nACGT,1,9\n", "bad.csv line 2", "3 fields"),
        ("bad.csv", "sequenc,y\nACGT,1\n", "'sequence'", "Did you mean sequenc?"),
        ("bad.csv", "sequence,y\n", "bad.csv", "no rows"),
        ("bad.fa", "ACGT\n", "bad.fa line 1", "'>' header"),
        ("bad.txt", "\n\n", "bad.txt", "holds no sequence"),
        ("bad.txt", ">a\nACGT\n", "bad.txt line 1", "Call the file .fa"),
    ],
)
def test_bad_records_are_named_with_what_is_wrong_and_nothing_is_written(
    refused: Invoke, tmp_path: Path, name: str, text: str, record: str, cure: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    said = refused("embed", path, "--model", "kmer1")
    assert record in said
    assert cure in said


def test_bytes_that_are_no_text_are_refused(refused: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "photo.csv"
    path.write_bytes(b"\xff\xfe\x00\x01")
    assert "photo.csv is not UTF-8 text" in refused("embed", path, "--model", "kmer1")


def test_a_sequence_longer_than_the_model_takes_is_named(
    refused: Invoke, fasta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = MODELS["kmer1"]
    short = ModelEntry(entry.spec.model_copy(update={"max_nt": 9}), entry.load)
    monkeypatch.setitem(MODELS._entries, "kmer1", short)
    said = refused("embed", fasta, "--model", "kmer1")
    assert "three.fa record 'one': 10 nt, and kmer1 takes 9" in said


def test_unknown_models_benchmarks_layers_and_files_are_named_with_a_suggestion(
    refused: Invoke, fasta: Path
) -> None:
    assert "Did you mean gpn-mini" in refused("embed", fasta, "--model", "gpn-mni")
    assert "Did you mean sortseq_lac?" in refused("embed", "sortsec_lac", "--model", "kmer1")
    assert "has layers 0 to" in refused("embed", fasta, "--model", "gpn-mini", "--layer", "77")
    assert "kmer1 gives" in refused("embed", fasta, "--model", "kmer1", "--pooling", "cls")


def test_a_mistyped_option_is_a_usage_error(glmstore: Invoke, store: Path, fasta: Path) -> None:
    for arguments in (
        ["embed", fasta],
        ["embed", fasta, "--model", "kmer1", "--pooling", "median"],
        ["embed"],
    ):
        assert glmstore(*arguments).exit_code == 2
    assert not store.exists()


def test_embeddings_come_back_in_the_order_of_the_file(glmstore: Invoke, fasta: Path, tmp_path: Path) -> None:
    glmstore("embed", fasta, "--model", "kmer1", "--dtype", "float32")
    out = tmp_path / "features.npy"
    assert glmstore("get", fasta, "--view", "kmer1", "--out", out).exit_code == 0
    values = np.load(out)
    assert values.shape == (3, 4)
    assert np.array_equal(values[0], values[2])
    assert not np.array_equal(values[0], values[1])
    frame = tmp_path / "features.parquet"
    glmstore("get", fasta, "--view", "kmer1", "--out", frame)
    read = pl.read_parquet(frame)
    assert read["seq_key"].to_list() == [seq_key(s) for s in ("ACGTACGTAC", "GGGTTTCCC", "ACGTACGTAC")]
    assert np.allclose(np.array(read["vector"].to_list()), values)


def test_token_views_come_back_without_their_padding(glmstore: Invoke, fasta: Path, tmp_path: Path) -> None:
    glmstore("embed", fasta, "--model", "onehot", "--pooling", "tokens", "--dtype", "uint8")
    out = tmp_path / "tokens.parquet"
    glmstore("get", fasta, "--view", "onehot", "--out", out)
    lengths = [len(matrix) for matrix in pl.read_parquet(out)["vector"].to_list()]
    assert lengths == [10, 9, 10]


def test_one_sequence_or_its_key_gives_one_vector(glmstore: Invoke, fasta: Path) -> None:
    glmstore("embed", fasta, "--model", "kmer1")
    by_sequence = json.loads(glmstore("get", "gggtttccc", "--view", "kmer1", "--json").stdout)
    by_key = json.loads(glmstore("get", seq_key("GGGTTTCCC"), "--view", "kmer1", "--json").stdout)
    assert by_sequence == by_key
    assert len(by_key) == 1
    assert len(by_key[0]["vector"]) == 4
    short = glmstore("get", "GGGTTTCCC", "--view", "kmer1").stdout
    assert short.startswith(seq_key("GGGTTTCCC"))


def test_reading_what_is_not_there_is_refused(
    glmstore: Invoke, refused: Invoke, fasta: Path, tmp_path: Path
) -> None:
    glmstore("embed", fasta, "--model", "kmer1")
    assert seq_key("TTTTT") in refused("get", "TTTTT", "--view", "kmer1")
    assert "no feature view is called 'kmer9'" in refused("get", "ACGT", "--view", "kmer9")
    assert "letter '!'" in refused("get", "ACG!", "--view", "kmer1")
    assert glmstore("get", fasta, "--view", "kmer1", "--out", tmp_path / "x.csv").exit_code == 2
    assert not (tmp_path / "x.csv").exists()


def test_views_are_listed_with_their_provenance(glmstore: Invoke, fasta: Path) -> None:
    glmstore("embed", fasta, "--model", "kmer1")
    (view,) = json.loads(glmstore("views", "--json").stdout)
    assert view["model"] == "kmer1"
    assert view["rows"] == 2
    assert view["provenance"]["dim"] == 4
    assert view["name"] in glmstore("views").stdout


def test_neighbours_of_a_stored_sequence_begin_with_itself(glmstore: Invoke, fasta: Path) -> None:
    glmstore("embed", fasta, "--model", "kmer2")
    found = json.loads(glmstore("similar", "GGGTTTCCC", "--view", "kmer2", "-k", "2", "--json").stdout)
    assert [row["sequence"] for row in found] == ["GGGTTTCCC", "ACGTACGTAC"]
    assert found[0]["distance"] == pytest.approx(0, abs=1e-3)


def test_neighbours_of_a_new_sequence_are_found_and_it_is_not_stored(
    glmstore: Invoke, store: Path, fasta: Path
) -> None:
    glmstore("embed", fasta, "--model", "kmer2")
    found = json.loads(glmstore("similar", "GGGTTTCCG", "--view", "kmer2", "-k", "1", "--json").stdout)
    assert found[0]["sequence"] == "GGGTTTCCC"
    assert FeatureStore.open(store, create=False).sequences().height == 2


def test_neighbours_are_not_searched_among_token_views(
    glmstore: Invoke, refused: Invoke, fasta: Path
) -> None:
    glmstore("embed", fasta, "--model", "onehot", "--pooling", "tokens")
    assert "is token-level" in refused("similar", "ACGTACGTAC", "--view", "onehot")


def test_a_models_name_stands_for_the_view_embed_fills_by_default(glmstore: Invoke, fasta: Path) -> None:
    filled = json.loads(glmstore("embed", fasta, "--model", "gpn-mini", "--json").stdout)["view"]
    glmstore("embed", fasta, "--model", "gpn-mini", "--layer", "last", "--pooling", "max")
    (got,) = json.loads(glmstore("get", "ACGTACGTAC", "--view", "gpn-mini", "--json").stdout)
    assert got["view"] == filled
    assert glmstore("similar", "ACGTACGTAC", "--view", "gpn-mini", "-k", "1").exit_code == 0


def test_the_beginning_of_several_views_is_refused_with_their_names(
    refused: Invoke, glmstore: Invoke, fasta: Path
):
    glmstore("embed", fasta, "--model", "gpn-mini", "--layer", "0")
    glmstore("embed", fasta, "--model", "gpn-mini", "--layer", "last")
    said = refused("get", "ACGTACGTAC", "--view", "gpn-mini/")
    assert "2 views begin with 'gpn-mini/'" in said
    assert "gpn-mini/0/mean" in said
    assert "gpn-mini/8/mean" in said


@pytest.mark.parametrize("place", ["file", "gopher://nowhere"])
def test_a_place_that_can_be_no_store_is_refused(refused: Invoke, fasta: Path, place: str) -> None:
    said = refused("embed", fasta, "--model", "kmer1", "--store", fasta if place == "file" else place)
    assert ("is a file" if place == "file" else "gopher") in said
    assert ".rs:" not in said
