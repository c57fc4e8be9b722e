from __future__ import annotations

import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glmstore.models.catalogue import get_model

Invoke = Callable[..., Any]
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def short_timings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glmstore.estimating.embedding.TIMED_SECONDS", 0.0)


def planned(glmstore: Invoke, *arguments: object) -> dict[str, Any]:
    result = glmstore("plan", *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_command_explains_itself_with_an_example(glmstore: Invoke) -> None:
    said = glmstore("plan", "--help").stdout
    assert "--store" in said
    assert "glmstore plan sortseq_lac --model gpn-mini" in " ".join(said.split())


def test_planning_a_file_counts_distinct_sequences_and_makes_no_store(
    glmstore: Invoke, store: Path, fasta: Path
) -> None:
    found = planned(glmstore, fasta, "--model", "kmer2")
    (features,) = found["features"]
    assert (features["asked"], features["present"], features["vectors"]) == (2, 0, 2)
    assert features["size"] == {"value": 64, "unit": "bytes", "basis": "exact", "how": "2 vectors x 16 x 2 B"}
    assert found["total_bytes"]["value"] == 64
    assert not found["store_exists"]
    assert not store.exists()


def test_what_the_store_holds_is_not_planned_again(glmstore: Invoke, fasta: Path) -> None:
    glmstore("embed", fasta, "--model", "kmer2")
    (features,) = planned(glmstore, fasta, "--model", "kmer2")["features"]
    assert (features["asked"], features["present"], features["vectors"]) == (2, 2, 0)
    said = glmstore("plan", fasta, "--model", "kmer2").stdout
    assert "0 to compute" in said
    assert "2 asked, 2 in the store" in said


def test_people_see_what_each_number_rests_on(glmstore: Invoke) -> None:
    said = glmstore("plan", "1000x50", "--model", "gpn-mini", "--layer", "1").stdout
    assert "gpn-mini, layer 1, mean, float16, on cpu" in said
    assert "1,000 to compute" in said
    assert "192 kB" in said
    assert "1,000 vectors x 96 x 2 B" in said
    assert "weights" in said
    assert "timed just now" in said
    assert "give --price-per-hour" in said


def test_a_model_that_was_not_pulled_is_planned_from_its_description(glmstore: Invoke) -> None:
    if get_model("nt-2.5b-multi-species").spec.revision is not None:
        pytest.skip("the weights are here")
    options = ("--model", "nt-2.5b-multi-species", "--pooling", "tokens", "--dtype", "float32")
    found = planned(glmstore, "393328x230", *options)
    (features,) = found["features"]
    assert features["here"] is False
    assert features["size"]["value"] == 393_328 * 40 * 2560 * 4
    assert features["time"]["basis"] == "extrapolated"
    assert any("blocks timed, the rest scaled up by FLOPs" in note for note in features["notes"])
    said = glmstore("plan", "393328x230", *options).stdout
    assert "161 GB" in said
    assert "extrapolated" in said
    assert "glmstore models pull nt-2.5b-multi-species" in " ".join(said.split())


def test_a_price_turns_time_into_cost(glmstore: Invoke) -> None:
    (features,) = planned(glmstore, "1000x50", "-m", "kmer2", "--price-per-hour", "2.5")["features"]
    assert features["cost"]["value"] == pytest.approx(features["time"]["value"] * 2.5 / 3600)
    assert features["cost"]["how"] == "2.5 an hour"


def test_several_models_are_shown_beside_each_other(glmstore: Invoke) -> None:
    found = planned(glmstore, "100x50", "-m", "kmer2", "-m", "onehot", "-m", "kmer2")
    assert [f["model"] for f in found["features"]] == ["kmer2", "onehot"]
    assert found["total_bytes"]["value"] == 100 * 16 * 2 + 100 * 50 * 4 * 2
    assert "all together" in glmstore("plan", "100x50", "-m", "kmer2", "-m", "onehot").stdout


def test_too_little_disk_is_said_loudly(glmstore: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2000, 1000, 1000))
    result = glmstore("plan", "1000x50", "-m", "kmer2")
    assert result.exit_code == 0
    assert "WARNING: the disk is too small: 32.0 kB are to be stored, and 1.00 kB are free" in result.stderr
    assert planned(glmstore, "1000x50", "-m", "kmer2")["warnings"]


def test_too_little_memory_is_said_too(glmstore: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glmstore.estimating.embedding.available_memory", lambda _: 1000)
    said = glmstore("plan", "1000x50", "-m", "kmer2").stderr
    assert "WARNING: kmer2 takes about" in said
    assert "1.00 kB are free on cpu" in said


def test_a_benchmark_whose_files_are_elsewhere_is_not_fetched_and_not_guessed(
    glmstore: Invoke, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GLMSTORE_MIRROR", raising=False)
    monkeypatch.setenv("GLMSTORE_CACHE", str(tmp_path / "empty-cache"))
    result = glmstore("plan", "sortseq_lac", "-m", "kmer2")
    assert result.exit_code == 0
    assert "cannot be planned" in result.stdout
    assert "glmstore data pull sortseq_lac" in " ".join(result.stdout.split())
    assert planned(glmstore, "sortseq_lac", "-m", "kmer2")["features"] == []
    assert not store.exists()


@pytest.mark.mirror
def test_a_benchmark_in_the_mirror_is_counted_without_a_store(
    glmstore: Invoke, store: Path, mirror: Path
) -> None:
    (features,) = planned(glmstore, "cagi5_ldlr", "-m", "kmer2")["features"]
    assert features["asked"] > 600
    assert not store.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sortseq_lak", "-m", "kmer2"), "Did you mean sortseq_lac"),
        (("0x50", "-m", "kmer2"), "N×L"),
        (("10x50", "-m", "kmer22"), "no model is called 'kmer22'"),
        (("10x50", "-m", "gpn-mini", "--layer", "99"), "99"),
        (("10x50", "-m", "gpn-mini", "--pooling", "cls"), "cls"),
        (("10x50", "-m", "kmer2", "--device", "cuda:77"), "cuda:77"),
        (("10x99999", "-m", "gpn-mini"), "65536"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    refused: Invoke, arguments: tuple[str, ...], said: str
) -> None:
    assert said in refused("plan", *arguments)


def test_a_bad_record_is_named(refused: Invoke, tmp_path: Path) -> None:
    bad = tmp_path / "bad.fa"
    bad.write_text(">one\nACGT\n>two\nACXT\n")
    assert "bad.fa record 'two'" in refused("plan", bad, "-m", "kmer2")


def test_a_negative_price_is_a_usage_error(glmstore: Invoke) -> None:
    assert glmstore("plan", "10x50", "-m", "kmer2", "--price-per-hour", "-1").exit_code == 2
