from __future__ import annotations

import logging
import random
from pathlib import Path

import polars as pl
import pytest

from glmstore.benchmarks import Benchmark, BenchmarkData
from glmstore.benchmarks.table import benchmark_from_table
from glmstore.config import Settings
from glmstore.data.fetch import Fetcher
from glmstore.errors import (
    AlphabetError,
    DuplicateNameError,
    EmptySequenceError,
    LabelError,
    TableError,
    UnknownNameError,
)
from glmstore.sequences.normalise import seq_key


def random_dna(rng: random.Random, length: int) -> str:
    return "".join(rng.choices("ACGT", k=length))


def sequences(n: int, length: int = 60, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [random_dna(rng, length) for _ in range(n)]


def write(path: Path, header: str, rows: list[tuple]) -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def load(benchmark: Benchmark) -> BenchmarkData:
    return benchmark.load(Fetcher(Settings(offline=True)))


def test_a_table_of_numbers_becomes_a_regression_benchmark_named_after_its_file(tmp_path) -> None:
    rows = [(s, i / 7) for i, s in enumerate(sequences(200))]
    benchmark = benchmark_from_table(write(tmp_path / "my assay.csv", "sequence,label", rows))
    data = load(benchmark)
    spec = benchmark.spec
    assert (spec.name, spec.label_kind, spec.sequence_length) == ("my_assay", "regression", 60)
    assert (spec.split, spec.metrics[0]) == ("hash 80/10/10", "pearson_r")
    assert data.items["item_id"].to_list() == [f"line{i}" for i in range(2, 202)]
    assert data.items["label"].to_list() == [label for _, label in rows]
    assert data.items["cluster"].to_list() == [seq_key(s) for s, _ in rows]
    assert set(data.items["split"]) == {"train", "valid", "test"}
    assert data.facts["duplicates_merged"] == 0


def test_labels_of_zero_and_one_are_binary_unless_asked_otherwise(tmp_path) -> None:
    path = write(tmp_path / "peaks.csv", "dna,bound", [(s, i % 2) for i, s in enumerate(sequences(100))])
    columns = {"sequence": "dna", "label": "bound"}
    assert benchmark_from_table(path, **columns).spec.label_kind == "binary"
    assert benchmark_from_table(path, **columns).spec.metrics == ("auroc", "auprc", "mcc")
    assert benchmark_from_table(path, **columns, kind="regression").spec.label_kind == "regression"


def test_the_source_is_the_file_pinned_as_it_was_read(tmp_path) -> None:
    path = write(tmp_path / "a.csv", "sequence,label", [(s, i) for i, s in enumerate(sequences(100))])
    (source,) = benchmark_from_table(path).spec.sources
    assert source.url == path.resolve().as_uri()
    with path.open("a") as file:
        file.write(f"{'A' * 60},7\n")
    assert benchmark_from_table(path).spec.sources[0].sha256 != source.sha256


def test_repeated_measurements_are_averaged_and_counted(tmp_path) -> None:
    rows = [(s, float(i)) for i, s in enumerate(sequences(100))]
    repeats = [(rows[0][0].lower(), 3.0), (rows[0][0], 6.0), (rows[5][0], 5.0)]
    data = load(benchmark_from_table(write(tmp_path / "a.csv", "sequence,label", rows + repeats)))
    assert data.items.height == 100
    assert data.items["label"][0] == pytest.approx((0.0 + 3.0 + 6.0) / 3)
    assert data.items["label"][5] == 5.0
    assert (data.facts["rows"], data.facts["duplicates_merged"]) == (103, 3)


def test_equal_binary_labels_of_one_sequence_are_merged_and_others_refused(tmp_path) -> None:
    rows = [(s, i % 2) for i, s in enumerate(sequences(100))]
    same = write(tmp_path / "same.csv", "sequence,label", [*rows, rows[3]])
    assert load(benchmark_from_table(same)).facts["duplicates_merged"] == 1
    odd = write(tmp_path / "odd.csv", "sequence,label", [*rows, (rows[3][0], 0)])
    with pytest.raises(
        LabelError, match=r"odd\.csv line 102, column 'label': 0, but line 5 gives the same sequence 1"
    ):
        benchmark_from_table(odd)


def test_a_split_column_is_taken_as_it_is_under_its_usual_names(tmp_path) -> None:
    names = ["train", "Training", "val", "dev", "validation", "test"]
    rows = [(s, i, names[i % 6]) for i, s in enumerate(sequences(60))]
    benchmark = benchmark_from_table(write(tmp_path / "a.csv", "sequence,label,fold", rows), split="fold")
    assert (
        load(benchmark).items["split"].to_list() == ["train", "train", "valid", "valid", "valid", "test"] * 10
    )
    assert benchmark.spec.split == "column 'fold'"


def test_a_sequence_in_two_parts_is_refused_with_both_lines(tmp_path) -> None:
    rows = [(s, i, ["train", "valid", "test"][i % 3]) for i, s in enumerate(sequences(30))]
    path = write(tmp_path / "a.csv", "sequence,label,split", [*rows, (rows[0][0], 1, "test")])
    with pytest.raises(
        TableError, match=r"line 32, column 'split': the sequence is in 'test', but line 2 has it in"
    ):
        benchmark_from_table(path, split="split")


def test_leaks_a_split_column_leaves_are_counted(tmp_path) -> None:
    from glmstore.sequences.onehot import reverse_complement

    rows = [(s, i, ["train", "valid", "test"][i % 3]) for i, s in enumerate(sequences(30))]
    path = write(
        tmp_path / "a.csv", "sequence,label,split", [*rows, (reverse_complement(rows[0][0]), 1, "test")]
    )
    facts = load(benchmark_from_table(path, split="split")).facts
    assert facts["leaked_train_to_test_reverse_complement"] == 1
    assert facts["leaked_train_to_test_exact"] == facts["leaked_train_to_valid_near"] == 0


def test_a_homology_split_keeps_families_in_one_part_and_one_cluster(tmp_path) -> None:
    rng = random.Random(0)
    rows = []
    for founder in sequences(60, length=170, seed=1):
        at = rng.randrange(170)
        rows += [(founder, rng.random()), (founder[:at] + "N" + founder[at + 1 :], rng.random())]
    benchmark = benchmark_from_table(write(tmp_path / "a.csv", "sequence,label", rows), split="homology")
    items = load(benchmark).items
    assert benchmark.spec.split == "homology 80/10/10"
    assert items["cluster"].n_unique() == 60
    assert items.group_by("cluster").agg(pl.col("split").n_unique())["split"].max() == 1
    assert load(benchmark).facts["leaked_train_to_test_near"] == 0


def test_sequences_of_several_lengths_have_no_common_length(tmp_path) -> None:
    rows = [(s[: 30 + i % 9], i) for i, s in enumerate(sequences(100))]
    assert (
        benchmark_from_table(write(tmp_path / "a.csv", "sequence,label", rows)).spec.sequence_length is None
    )


GOOD = [(s, i) for i, s in enumerate(sequences(40))]


@pytest.mark.parametrize(
    ("row", "error", "problem"),
    [
        (("", 1), EmptySequenceError, r"bad\.csv line 42, column 'sequence': the sequence is empty"),
        (("ACGX", 1), AlphabetError, r"bad\.csv line 42, column 'sequence': letter 'X' at position 3"),
        (("ACGR", 1), AlphabetError, r"letter 'R' at position 3 .*Replace it by N"),
        (("ACGT", ""), LabelError, r"bad\.csv line 42, column 'label': the value is missing"),
        (("ACGT", "nan"), LabelError, r"line 42, column 'label': 'nan' is not a finite number"),
        (("ACGT", "inf"), LabelError, r"'inf' is not a finite number"),
        (("ACGT", "high"), LabelError, r"'high' is not a finite number"),
        (("ACGT",), TableError, r"bad\.csv line 42: 1 fields"),
    ],
)
def test_bad_rows_are_refused_by_line_and_column(tmp_path, row: tuple, error: type, problem: str) -> None:
    with pytest.raises(error, match=problem):
        benchmark_from_table(write(tmp_path / "bad.csv", "sequence,label", [*GOOD, row]))


def test_bad_columns_splits_and_names_are_refused_with_the_cure(tmp_path) -> None:
    path = write(tmp_path / "a.csv", "sequence,label", GOOD)
    with pytest.raises(UnknownNameError, match=r"no column is called 'seq'.*sequence"):
        benchmark_from_table(path, sequence="seq")
    with pytest.raises(TableError, match="split 'fold' is neither 'hash', 'homology' nor one of the columns"):
        benchmark_from_table(path, split="fold")
    with pytest.raises(LabelError, match="line 4, column 'label': 2 is neither 0 nor 1"):
        benchmark_from_table(path, kind="binary")
    with pytest.raises(LabelError, match="every label is 1; nothing to learn"):
        benchmark_from_table(write(tmp_path / "flat.csv", "sequence,label", [(s, 1) for s, _ in GOOD]))
    with pytest.raises(
        TableError, match=r"no item is in (valid|test|valid or test) \(3 distinct sequences\)"
    ):
        benchmark_from_table(write(tmp_path / "few.csv", "sequence,label", GOOD[:3]))
    with pytest.raises(DuplicateNameError, match="'sortseq_lac' is a benchmark that comes with glmstore"):
        benchmark_from_table(write(tmp_path / "sortseq_lac.csv", "sequence,label", GOOD * 1))
    rows = [(s, i, "held-out" if i == 7 else "train") for s, i in GOOD]
    with pytest.raises(TableError, match=r"line 9, column 'split': 'held-out' is none of train"):
        benchmark_from_table(write(tmp_path / "part.csv", "sequence,label,split", rows), split="split")


def test_iupac_letters_are_read_as_n_when_asked(tmp_path) -> None:
    rows = [*[(s, i) for i, s in enumerate(sequences(100))], ("ACGR", 1)]
    benchmark = benchmark_from_table(write(tmp_path / "a.csv", "sequence,label", rows), ambiguous="N")
    assert load(benchmark).items["sequence"][-1] == "ACGN"


@pytest.mark.parametrize("level", ["train", "valid", "test"])
def test_a_part_with_one_label_only_is_refused(tmp_path, level: str) -> None:
    parts = ["train", "valid", "test"]
    rows = [(s, 1 if parts[i % 3] == level else i, parts[i % 3]) for i, s in enumerate(sequences(30))]
    path = write(tmp_path / "a.csv", "sequence,label,split", rows)
    with pytest.raises(LabelError, match=f"every label in {level} is 1 "):
        benchmark_from_table(path, split="split")


def test_labels_that_look_like_classes_are_said_to_be_quantities(tmp_path, caplog) -> None:
    path = write(tmp_path / "a.csv", "sequence,label", [(s, i % 3) for i, s in enumerate(sequences(60))])
    with caplog.at_level(logging.WARNING):
        assert benchmark_from_table(path).spec.label_kind == "regression"
        (said,) = caplog.messages
        assert said.startswith(
            "a.csv, column 'label': the labels 0, 1, 2 are read as quantities (regression)"
        )
        benchmark_from_table(path, kind="regression")
    assert len(caplog.messages) == 1


def test_rows_of_one_sequence_that_differ_are_counted_aloud(tmp_path, caplog) -> None:
    rows = [(s, i / 7) for i, s in enumerate(sequences(60))]
    path = write(tmp_path / "a.csv", "sequence,label", [*rows, (rows[4][0], 9), rows[5]])
    with caplog.at_level(logging.WARNING):
        benchmark_from_table(path)
    (said,) = caplog.messages
    assert said.endswith("which get the mean: 1, the first a.csv line 6, column 'label'")
