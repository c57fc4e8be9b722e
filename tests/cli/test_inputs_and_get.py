from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from glmstore.sequences.normalise import seq_key

Invoke = Callable[..., Any]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return a table of two sequences whose name has to be quoted in a shell."""
    path = tmp_path / "my assay.csv"
    path.write_text("oligo,y\nACGTACGT,1\nGGGTTTCC,2\n")
    return path


def test_a_file_that_may_not_be_read_ends_in_one_line(
    refused: Invoke, fasta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def guarded(path: Path, *arguments: Any, **options: Any) -> Any:
        if path == fasta:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", guarded)
    for command in (["embed", fasta, "--model", "kmer1"], ["get", fasta, "--view", "kmer1"]):
        assert refused(*command) == "error: three.fa cannot be read: permission denied."


@pytest.mark.parametrize("place", ["/proc/no-store", "three.fa/store"])
def test_a_place_where_no_store_can_be_made_ends_in_one_line(
    refused: Invoke, fasta: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(fasta.parent)
    said = refused("embed", fasta, "--model", "kmer1", "--store", place)
    assert f"{place}: no" in said
    assert "Choose another place." in said


def test_a_store_that_may_not_be_entered_ends_in_one_line(
    refused: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*arguments: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    Path("closed").mkdir()
    monkeypatch.setattr(os, "scandir", denied)
    assert "closed: permission denied. Choose another place." in refused("views", "--store", "closed")


@pytest.mark.parametrize(
    ("name", "text", "cure"),
    [
        ("reads.fastq", "@r\nACGT\n+\nIIII\n", "reads.fastq is FASTQ: convert it to FASTA"),
        ("reads.txt", "@r\nACGT\n+\nIIII\n", "reads.txt line 1: this is FASTQ"),
        ("sheet.xlsx", "PK", "export the sheet as CSV"),
        ("peaks.bed", "chr1\t1\t9\n", "holds places in a genome"),
        ("peaks.txt", "chr1\t1\t9\n", "looks like a place in a genome"),
        ("protein.fa", ">p\nMKRLVVSTWYGHNDE\n", "looks like protein"),
    ],
)
def test_files_of_other_kinds_are_told_apart(
    refused: Invoke, tmp_path: Path, name: str, text: str, cure: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    said = refused("embed", path, "--model", "kmer1")
    assert cure in said
    assert "--ambiguous" not in said


def test_records_a_view_lacks_are_named_with_the_command_that_fills_it(
    glmstore: Invoke, refused: Invoke, table: Path
) -> None:
    Path("other.txt").write_text("TTTT\n")
    glmstore("embed", "other.txt", "--model", "kmer1", "--strand", "mean")
    said = refused("get", table, "--sequence", "oligo", "--view", "kmer1")
    assert f"lacks 2 of the 2 records of {table} (line2, line3)" in said
    command = said.partition("`")[2].partition("`")[0]
    assert command == f"glmstore embed {shlex.quote(str(table))} --sequence oligo --model kmer1 --strand mean"
    assert glmstore(*shlex.split(command)[1:]).exit_code == 0
    assert glmstore("get", table, "--sequence", "oligo", "--view", "kmer1").exit_code == 0


def test_the_command_names_a_store_that_was_named_and_no_option_that_is_usual(
    glmstore: Invoke, refused: Invoke, fasta: Path
) -> None:
    Path("other.txt").write_text("TTTT\n")
    glmstore("embed", "other.txt", "--model", "kmer1", "--store", "mine")
    said = refused("get", fasta, "--view", "kmer1", "--store", "mine")
    assert "lacks 3 of the 3 records" in said
    assert f"`glmstore embed {fasta} --model kmer1 --store mine`" in said


@pytest.mark.parametrize(("dtype", "stored"), [("float16", pl.Float16), ("float32", pl.Float32)])
def test_parquet_keeps_the_names_of_the_records_and_the_type_of_the_numbers(
    glmstore: Invoke, fasta: Path, dtype: str, stored: type[pl.DataType]
) -> None:
    glmstore("embed", fasta, "--model", "kmer1", "--dtype", dtype)
    glmstore("get", fasta, "--view", "kmer1", "--out", "x.parquet")
    glmstore("get", fasta, "--view", "kmer1", "--out", "x.npy")
    frame = pl.read_parquet("x.parquet")
    assert frame.schema == {"record": pl.String, "seq_key": pl.String, "vector": pl.List(stored)}
    assert frame["record"].to_list() == ["one", "two", "again"]
    values = np.load("x.npy")
    assert values.dtype == dtype
    assert np.array_equal(np.array(frame["vector"].to_list(), dtype), values)


def test_token_views_keep_their_type_in_parquet(glmstore: Invoke, table: Path) -> None:
    glmstore("embed", table, "--sequence", "oligo", "-m", "onehot", "--pooling", "tokens", "--dtype", "uint8")
    glmstore("get", table, "--sequence", "oligo", "--view", "onehot", "--out", "x.parquet")
    frame = pl.read_parquet("x.parquet")
    assert frame.schema["vector"] == pl.List(pl.List(pl.UInt8))
    assert frame["record"].to_list() == ["line2", "line3"]


def test_records_are_named_on_the_screen_and_in_json(glmstore: Invoke, fasta: Path) -> None:
    glmstore("embed", fasta, "--model", "kmer1")
    rows = json.loads(glmstore("get", fasta, "--view", "kmer1", "--json").stdout)
    assert [row["record"] for row in rows] == ["one", "two", "again"]
    assert glmstore("get", fasta, "--view", "kmer1").stdout.startswith(f"one  {seq_key('ACGTACGTAC')}  [4] ")


def test_a_folder_that_is_not_there_is_not_made(glmstore: Invoke, fasta: Path) -> None:
    glmstore("embed", fasta, "--model", "kmer1")
    result = glmstore("get", fasta, "--view", "kmer1", "--out", "nowhere/x.npy")
    assert result.exit_code == 2
    assert "there is no folder nowhere" in result.stderr
    assert not Path("nowhere").exists()


def test_what_names_no_file_is_not_taken_for_a_sequence(refused: Invoke, tmp_path: Path) -> None:
    assert "is a folder. Name a file in it." in refused("get", tmp_path, "--view", "kmer1")
    assert "absent.fa: there is no such file." in refused("get", "absent.fa", "--view", "kmer1")


def test_a_sequence_may_be_longer_than_a_name_of_a_file(glmstore: Invoke) -> None:
    sequence = "ACGTT" * 1000
    Path("long.txt").write_text(f"{sequence}\n")
    glmstore("embed", "long.txt", "--model", "kmer1")
    assert glmstore("get", sequence, "--view", "kmer1").stdout.startswith(seq_key(sequence))


def test_ambiguous_letters_are_read_back_as_they_were_embedded(
    glmstore: Invoke, refused: Invoke, tmp_path: Path
) -> None:
    path = tmp_path / "iupac.txt"
    path.write_text("ACGR\n")
    glmstore("embed", path, "--model", "kmer1", "--ambiguous", "N")
    assert "--ambiguous N" in refused("get", path, "--view", "kmer1")
    assert glmstore("get", path, "--view", "kmer1", "--ambiguous", "N").stdout.startswith("line1  ")
