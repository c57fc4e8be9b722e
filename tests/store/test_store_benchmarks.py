from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from glmstore.benchmarks.base import Benchmark, BenchmarkData, BenchmarkSpec
from glmstore.benchmarks.registering import ensure_benchmark
from glmstore.data.fetch import Fetcher
from glmstore.errors import AlphabetError, LabelError, TableError, UnknownNameError
from glmstore.sequences.normalise import seq_key
from glmstore.store import FeatureStore

SPEC = BenchmarkSpec(
    name="toy_mpra",
    title="A toy assay",
    family="MPRA regression",
    label_kind="regression",
    label="log2 RNA/DNA",
    metrics=("pearson_r",),
    split="official",
    sequence_length=None,
    organism="Escherichia coli",
    sources=(),
    citation="none",
)


def items(n: int = 6, **columns: list[object]) -> pl.DataFrame:
    made = {
        "item_id": [f"i{i}" for i in range(n)],
        "sequence": ["ACGT" + "ACGT"[i % 4] for i in range(n)],
        "label": [i / 2 for i in range(n)],
        "split": [("train", "valid", "test")[i % 3] for i in range(n)],
        "cluster": [f"c{i // 2}" for i in range(n)],
    }
    return pl.DataFrame({**made, **columns})


def test_items_come_back_in_order_with_their_keys(any_store: FeatureStore) -> None:
    data = BenchmarkData(items(), {"noise_ceiling_pearson_r": 0.9, "rows_left_out": 3, "release": "a"})
    digest = any_store.register_benchmark(SPEC, data)
    assert digest == data.digest == any_store.benchmark_digest("toy_mpra")
    stored = any_store.benchmark_items("toy_mpra")
    assert stored.columns == ["item_id", "seq_key", "sequence", "label", "split", "cluster"]
    assert stored.drop("seq_key").equals(items())
    assert stored["seq_key"].to_list() == [seq_key(s) for s in items()["sequence"]]
    assert any_store.benchmark_facts("toy_mpra") == data.facts
    assert any_store.benchmark_spec("toy_mpra") == SPEC
    assert any_store.sequences().height == 4


def test_benchmarks_are_listed_by_name(store: FeatureStore) -> None:
    store.register_benchmark(SPEC, BenchmarkData(items()))
    store.register_benchmark(SPEC.model_copy(update={"name": "another"}), BenchmarkData(items(3)))
    frame = store.benchmarks()
    assert frame.select("name", "n_items", "label_kind").rows() == [
        ("another", 3, "regression"),
        ("toy_mpra", 6, "regression"),
    ]


def test_registering_the_same_again_changes_nothing(store: FeatureStore) -> None:
    store.register_benchmark(SPEC, BenchmarkData(items()))
    before = store.benchmarks()
    store.register_benchmark(SPEC, BenchmarkData(items()))
    assert store.benchmarks().equals(before)


@pytest.mark.parametrize("damage", ["its items", "some of its items", "its sequences"])
def test_what_has_gone_missing_of_a_benchmark_is_stored_again(disk_store: FeatureStore, damage: str) -> None:
    data = BenchmarkData(items())
    digest = disk_store.register_benchmark(SPEC, data)
    tables = {"its items": f"benchmark_items_{digest}", "its sequences": "sequences"}
    if damage in tables:
        shutil.rmtree(Path(disk_store.uri) / f"{tables[damage]}.lance")
    else:
        disk_store._connection.handle(f"benchmark_items_{digest}").delete("item_id = 'i3'")
    benchmark = Benchmark(SPEC, lambda _: data)
    store = FeatureStore.open(disk_store.uri)
    assert store.benchmark_lacks("toy_mpra")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("glmstore.benchmarks.registering.BENCHMARKS", {"toy_mpra": benchmark})
        assert ensure_benchmark(store, "toy_mpra", Fetcher()) == digest
    assert store.benchmark_items("toy_mpra").drop("seq_key").equals(items())
    assert not store.benchmark_lacks("toy_mpra")
    assert store.check().ok


def test_changed_items_replace_the_old_and_a_snapshot_keeps_them(any_store: FeatureStore) -> None:
    any_store.register_benchmark(SPEC, BenchmarkData(items()))
    any_store.snapshot("old")
    changed = BenchmarkData(items(4, label=[9.0, 8.0, 7.0, 6.0]))
    assert any_store.register_benchmark(SPEC, changed) == changed.digest
    assert any_store.benchmark_items("toy_mpra")["label"].to_list() == [9.0, 8.0, 7.0, 6.0]
    assert any_store.benchmarks()["n_items"].to_list() == [4]
    assert any_store.at("old").benchmark_items("toy_mpra").drop("seq_key").equals(items())


def test_a_changed_description_of_the_same_items_is_taken_over(store: FeatureStore) -> None:
    store.register_benchmark(SPEC, BenchmarkData(items()))
    store.register_benchmark(SPEC.model_copy(update={"notes": "corrected"}), BenchmarkData(items(), {"x": 1}))
    assert store.benchmark_spec("toy_mpra").notes == "corrected"
    assert store.benchmark_facts("toy_mpra") == {"x": 1}


def test_until_the_last_commit_readers_see_the_old_items(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.register_benchmark(SPEC, BenchmarkData(items()))
    seen = []
    write = store._connection.write

    def spying(name, *args):
        if name == "benchmarks":
            seen.append(store.benchmark_items("toy_mpra"))
        return write(name, *args)

    monkeypatch.setattr(store._connection, "write", spying)
    store.register_benchmark(SPEC, BenchmarkData(items(4)))
    assert len(seen) == 1
    assert seen[0].drop("seq_key").equals(items())
    assert store.benchmark_items("toy_mpra").height == 4


@pytest.mark.parametrize(
    ("columns", "error", "says"),
    [
        ({"label": [0.0, float("nan"), 1.0]}, LabelError, "item i1"),
        ({"label": [0.0, None, 1.0]}, LabelError, "item i1"),
        ({"label": [0.0, 1.0, float("inf")]}, LabelError, "item i2"),
        ({"item_id": ["a", "b", "b"]}, TableError, "item_id b is not unique"),
        ({"split": ["train", "dev", "test"]}, TableError, "item i1 is in split 'dev'"),
        ({"sequence": ["ACGT", "ACGU", "A"]}, AlphabetError, "sequence 1"),
    ],
)
def test_an_item_that_cannot_be_one_is_named_and_nothing_is_registered(store, columns, error, says) -> None:
    with pytest.raises(error, match=says):
        store.register_benchmark(SPEC, BenchmarkData(items(3, **columns)))
    assert store.benchmarks().height == 0
    assert store.sequences().height == 0


def test_an_empty_or_ragged_benchmark_is_refused(store: FeatureStore) -> None:
    with pytest.raises(TableError, match="has no items"):
        store.register_benchmark(SPEC, BenchmarkData(items(0)))


def test_an_unknown_benchmark_is_answered_with_the_nearest(store: FeatureStore) -> None:
    store.register_benchmark(SPEC, BenchmarkData(items()))
    for ask in (
        store.benchmark_items,
        store.benchmark_facts,
        store.benchmark_spec,
        store.benchmark_digest,
        store.benchmark_lacks,
    ):
        with pytest.raises(UnknownNameError, match="Did you mean toy_mpra"):
            ask("toy_mpr")
