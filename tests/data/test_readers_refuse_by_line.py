from __future__ import annotations

import gzip
import logging
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmstore.data.items import make_items
from glmstore.data.readers import iter_fasta, read_fasta, read_rda, read_table
from glmstore.errors import AlphabetError, EmptySequenceError, LabelError, TableError, UnknownNameError
from glmstore.sequences.normalise import normalise, normalise_all


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_table_keeps_text_as_written_and_knows_the_line_of_every_row(tmp_path) -> None:
    table = read_table(write(tmp_path / "a.csv", 'id,note,y\na,"two\nlines",1.50\n\nb,x,2\n'))
    assert table.frame.rows() == [("a", "two\nlines", "1.50"), ("b", "x", "2")]
    assert table.lines.tolist() == [2, 5]
    assert table.numbers("y").tolist() == [1.5, 2.0]
    assert table.where(1, "y") == "a.csv line 5, column 'y'"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"x,y\n1,2\n"),
        ("a.tsv", b"x\ty\n1\t2\n"),
        ("a.txt", b"x\ty\r\n1\t2\r\n"),
        ("a.csv", b"\xef\xbb\xbfx,y\n1,2\n"),
        ("a.csv.gz", gzip.compress(b"x,y\n1,2\n")),
        ("zipped_without_saying_so.csv", gzip.compress(b"x,y\n1,2\n")),
    ],
)
def test_tables_are_read_whatever_their_wrapping(tmp_path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_table(tmp_path / name).frame.to_dict(as_series=False) == {"x": ["1"], "y": ["2"]}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x,y\n1,2\n3\n", "line 3: 1 fields, but the header names 2"),
        ("x,y\n1,2\n3,4,5\n", "line 3: 3 fields, but the header names 2"),
        ('x,y\n"a\nb",2\n3\n', "line 4: 1 fields"),
        ("", "is empty"),
        ("x,y\n", "has a header but no rows"),
        ("x,x\n1,2\n", "two columns are called 'x'"),
        ("x,\n1,2\n", "column 2 has no name"),
        ('x,y\n1,"2\n', "line 2: unexpected end of data"),
    ],
)
def test_a_table_of_the_wrong_shape_is_refused_by_line(tmp_path, text: str, problem: str) -> None:
    with pytest.raises(TableError, match=problem):
        read_table(write(tmp_path / "bad.csv", text))


def test_files_that_are_no_tables_are_refused_by_name(tmp_path) -> None:
    with pytest.raises(TableError, match=r"absent\.csv: there is no such file"):
        read_table(tmp_path / "absent.csv")
    with pytest.raises(TableError, match=r"data\.dat: a table is called"):
        read_table(write(tmp_path / "data.dat", "x"))
    (tmp_path / "binary.csv").write_bytes(b"x,y\n\xff\xfe,1\n")
    with pytest.raises(TableError, match=r"binary\.csv is not UTF-8"):
        read_table(tmp_path / "binary.csv")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"x,y\n" + b"1,2\n" * 999)[:-20])
    with pytest.raises(TableError, match=r"cut\.csv\.gz is a damaged gzip"):
        read_table(tmp_path / "cut.csv.gz")


def test_a_field_may_be_longer_than_a_long_context(tmp_path) -> None:
    table = read_table(write(tmp_path / "long.csv", f"sequence,label\n{'ACGT' * 50_000},1\n"))
    assert len(table.sequences("sequence")[0]) == 200_000


@pytest.mark.parametrize("value", ["", "NA", "nan", "NaN", "inf", "-inf", "1,5", "one", "1e999"])
def test_labels_that_are_no_finite_numbers_are_refused_by_line(tmp_path, value: str) -> None:
    table = read_table(write(tmp_path / "a.tsv", f"s\ty\nA\t1\nC\t{value}\n"))
    with pytest.raises(LabelError, match=r"a\.tsv line 3, column 'y': "):
        table.numbers("y")


def test_a_missing_column_is_named_with_the_nearest(tmp_path) -> None:
    table = read_table(write(tmp_path / "a.csv", "sequence,label\nA,1\n"))
    with pytest.raises(UnknownNameError, match=r"no column is called 'seqence'. Did you mean sequence\?"):
        table.column("seqence")


def test_sequences_are_normalised_or_refused_by_line(tmp_path, caplog) -> None:
    good = read_table(write(tmp_path / "good.csv", "s,y\nacgu,1\nACGT,2\n"))
    with caplog.at_level(logging.WARNING):
        assert good.sequences("s") == ["ACGT", "ACGT"]
    assert "normalised sequences: 1 with lower case, 1 with U (read as T)" in caplog.text
    with pytest.raises(EmptySequenceError, match="line 3, column 's': the sequence is empty"):
        read_table(write(tmp_path / "empty.csv", "s,y\nA,1\n,2\n")).sequences("s")
    ambiguous = read_table(write(tmp_path / "iupac.csv", "s,y\nACR,1\n"))
    with pytest.raises(AlphabetError, match="line 2, column 's': letter 'R' at position 2"):
        ambiguous.sequences("s")
    assert ambiguous.sequences("s", ambiguous="N") == ["ACN"]


def test_only_keeps_the_lines_of_the_rows_it_keeps(tmp_path) -> None:
    table = read_table(write(tmp_path / "a.csv", "s,y\nA,1\nC,2\nG,1\n")).only(pl.col("y") == "1")
    assert table.lines.tolist() == [2, 4]
    assert table.column("s").to_list() == ["A", "G"]


def test_fasta_records_are_joined_named_by_their_first_word_and_normalised(tmp_path) -> None:
    path = write(tmp_path / "a.fa", ">one first record\nACg\nuN\n\n>two\nTT\n")
    assert list(iter_fasta(path)) == [("one", "ACguN"), ("two", "TT")]
    assert read_fasta(path) == {"one": "ACGTN", "two": "TT"}


@pytest.mark.parametrize(
    ("text", "error", "problem"),
    [
        (">a\nAC\n>a\nGG\n", TableError, "two records are called 'a'"),
        (">a\nAC\n>\nGG\n", TableError, "line 3: the record has no name"),
        ("AC\n", TableError, "line 1: a FASTA file starts with"),
        ("\n", TableError, "holds no FASTA record"),
        (">a\n>b\nAC\n", EmptySequenceError, "record 'a': the sequence is empty"),
        (">a\nAC\n>b\nAXC\n", AlphabetError, "record 'b': letter 'X' at position 1"),
    ],
)
def test_fasta_that_cannot_be_used_is_refused_by_record(tmp_path, text, error, problem) -> None:
    with pytest.raises(error, match=problem):
        read_fasta(write(tmp_path / "bad.fa", text))


@given(st.dictionaries(st.text("abc123", min_size=1), st.text("ACGTN", min_size=1, max_size=40), min_size=1))
def test_fasta_survives_the_way_through_a_file(tmp_path_factory, records: dict[str, str]) -> None:
    path = tmp_path_factory.mktemp("fasta") / "a.fa"
    path.write_text(
        "".join(f">{name}\n{sequence[:7]}\n{sequence[7:]}\n" for name, sequence in records.items())
    )
    assert read_fasta(path) == records


def test_what_is_no_r_data_is_refused_by_name(tmp_path) -> None:
    with pytest.raises(TableError, match=r"a\.rda: there is no such file"):
        read_rda(tmp_path / "a.rda")
    with pytest.raises(TableError, match=r"text\.rda cannot be read as R data"):
        read_rda(write(tmp_path / "text.rda", "not R data at all"))


def test_items_are_checked_before_they_become_a_benchmark() -> None:
    good = make_items(["a", "b"], ["ACGT", "ACGT"], np.array([1.0, 2.0]), ["train", "test"])
    assert good["cluster"].n_unique() == 1
    with pytest.raises(LabelError, match="item 'b' has the label nan"):
        make_items(["a", "b"], ["A", "C"], np.array([1.0, np.nan]), ["train", "test"])
    with pytest.raises(TableError, match="two items are called 'a'"):
        make_items(["a", "a"], ["A", "C"], np.array([1.0, 2.0]), ["train", "test"])
    with pytest.raises(TableError, match="'dev' is no part"):
        make_items(["a"], ["A"], np.array([1.0]), ["dev"])
    with pytest.raises(TableError, match="no row is left"):
        make_items([], [], np.array([]), [])


@pytest.mark.parametrize(
    ("name", "header", "cure"),
    [
        ("a.csv", "id;seq;activity", "separated by semicolons: save it with commas"),
        ("a.csv", "id\tseq", "separated by tabs: call it .tsv"),
        ("a.tsv", "id,seq", "separated by commas: call it .csv"),
        ("a.txt", "id,seq", "separated by commas: call it .csv"),
    ],
)
def test_a_table_separated_otherwise_than_its_name_says_is_told_how(tmp_path, name, header, cure) -> None:
    with pytest.raises(TableError, match=rf"{re.escape(name)} line 1: .* seems to be {cure}"):
        read_table(write(tmp_path / name, f"{header}\n1{header[2]}ACGT{header[2]}0\n"))


def test_a_table_of_one_column_is_a_table(tmp_path) -> None:
    assert read_table(write(tmp_path / "one.csv", "seq\nACGT\n")).column("seq").to_list() == ["ACGT"]


@pytest.mark.parametrize(
    ("content", "cure"),
    [
        ("seq,y\nACGT,1\n".encode("utf-16"), "It is UTF-16: save it as CSV UTF-8"),
        (b"PK\x03\x04\xff\xfe", "as spreadsheets are: export the sheet as CSV"),
        ("seq,note\nACGT,\xe9\n".encode("latin-1"), "Save it as UTF-8"),
    ],
)
def test_text_in_another_encoding_is_told_how_to_save_it(tmp_path, content: bytes, cure: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(TableError, match=rf"a\.csv is not UTF-8 text\. .*{cure}"):
        read_table(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("a.xlsx", "is a spreadsheet: export the sheet as CSV"),
        ("a.fa", "is FASTA, which has no labels: use `glmstore embed`, or give a table"),
        ("a.fastq.gz", "is FASTQ: convert it to FASTA"),
        ("a.parquet", "is Parquet: write it as CSV"),
        ("a.bed", "holds places in a genome: give the sequences"),
    ],
)
def test_files_of_another_kind_are_told_what_to_become(tmp_path, name: str, cure: str) -> None:
    with pytest.raises(TableError, match=rf"{re.escape(name)} {cure}"):
        read_table(write(tmp_path / name, "x"))


def test_fastq_called_fasta_is_named(tmp_path) -> None:
    with pytest.raises(TableError, match=r"a\.fa line 1: this is FASTQ: convert it to FASTA"):
        read_fasta(write(tmp_path / "a.fa", "@read\nACGT\n+\nIIII\n"))


@pytest.mark.parametrize(
    ("labels", "cure"),
    [
        (["active", "inactive"], "Labels are numbers: use 0 and 1 for two classes"),
        (["1", "2", "high"], "Correct or remove the row"),
        (["NA", "NA"], "Correct or remove the row"),
        (["0,5", "1,5"], "Write decimals with a point"),
    ],
)
def test_labels_that_are_no_numbers_are_told_what_to_become(tmp_path, labels, cure) -> None:
    table = read_table(write(tmp_path / "a.tsv", "y\n" + "\n".join(labels)))
    with pytest.raises(LabelError, match=cure):
        table.numbers("y")


def test_what_may_not_be_read_is_refused_by_name(tmp_path, monkeypatch) -> None:
    def denied(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path / "theirs.fa", ">a\nACGT\n")
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(TableError, match=r"^theirs\.fa cannot be read: permission denied\.$"):
        read_fasta(path)


def test_a_folder_is_called_one(tmp_path) -> None:
    for read in (read_table, read_fasta, read_rda):
        with pytest.raises(TableError, match=r"is a folder\. Name a file in it"):
            read(tmp_path)


@pytest.mark.parametrize(
    ("sequence", "cure"),
    [
        ("MKRLVVSTWYGHNDE", "It looks like protein"),
        ("chr1\t100\t200", "It looks like a place in a genome"),
        ("chr1:1,000-2,000", "It looks like a place in a genome"),
        ("promoter_1", "does not look like a sequence of nucleotides"),
        ("ACGTRYACGT", "pass ambiguous='N'"),
        ("RYSWKM", "pass ambiguous='N'"),
        ("ACGT-ACGT", "Only A, C, G, T, U and N"),
    ],
)
def test_text_that_is_no_sequence_is_told_what_it_looks_like(sequence: str, cure: str) -> None:
    with pytest.raises(AlphabetError, match=cure):
        normalise(sequence)
    if "ambiguous" not in cure:
        with pytest.raises(AlphabetError, match=cure):
            normalise(sequence, ambiguous="N")


@pytest.mark.parametrize(
    ("sequences", "said"),
    [
        (["acgt", "ACGT"], ["normalised sequences: 1 with lower case"]),
        (["ACGU"], ["normalised sequences: 1 with U (read as T)"]),
        (["NNN", "ACGN", "NN"], ["sequences of nothing but N: 2, the first row 0"]),
        (["ACGT"], []),
    ],
)
def test_only_what_was_changed_or_is_odd_is_said(caplog, sequences: list[str], said: list[str]) -> None:
    with caplog.at_level(logging.WARNING):
        normalise_all(sequences)
    assert caplog.messages == said
