from __future__ import annotations

import doctest
import os
import shutil
import threading
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import glmstore.store
from glmstore.benchmarks.base import BenchmarkData, BenchmarkSpec
from glmstore.errors import UnknownNameError
from glmstore.store import FeatureStore, connection, maintenance

AT_ONCE = timedelta(microseconds=1)
SPEC = BenchmarkSpec(
    name="toy",
    title="t",
    family="f",
    label_kind="binary",
    label="y",
    metrics=("auroc",),
    split="official",
    sequence_length=4,
    organism="o",
    sources=(),
    citation="c",
)


def toy_items(labels: list[float]) -> BenchmarkData:
    n = len(labels)
    columns = {"item_id": [f"i{i}" for i in range(n)], "sequence": ["ACGT"] * n, "label": labels}
    return BenchmarkData(pl.DataFrame({**columns, "split": ["test"] * n, "cluster": ["c"] * n}))


def write_in_pieces(store: FeatureStore, view, origin, pieces: int = 10):
    rng = np.random.default_rng(0)
    keys = store.add_sequences(["".join("ACGT"[i] for i in row) for row in rng.integers(0, 4, (200, 30))])
    vectors = rng.normal(size=(200, 8)).astype(np.float16)
    store.declare(view, origin(8))
    for part in np.array_split(np.arange(200), pieces):
        store.write(view, [keys[i] for i in part], vectors[part])
    return keys, vectors


def test_optimize_merges_files_and_keeps_every_row(any_store: FeatureStore, make_view, origin) -> None:
    keys, vectors = write_in_pieces(any_store, make_view(), origin)
    report = any_store.optimize()
    row = report.filter(pl.col("table").str.starts_with("view_")).row(0, named=True)
    assert (row["rows"], row["files_before"], row["files_after"]) == (200, 10, 1)
    np.testing.assert_array_equal(any_store.read(make_view(), keys).values, vectors)
    assert any_store.missing(make_view(), keys) == []
    assert any_store.check().problems == []


def test_optimize_of_one_view_touches_no_other_table(disk_store: FeatureStore, make_view, origin) -> None:
    view = make_view()
    write_in_pieces(disk_store, view, origin)
    report = disk_store.optimize(view)
    assert report["table"].to_list() == [disk_store._catalogue.require(view).table_stem]
    with pytest.raises(UnknownNameError):
        disk_store.optimize("no such view")


def test_old_versions_are_removed_and_counted(disk_store: FeatureStore, make_view, origin) -> None:
    write_in_pieces(disk_store, make_view(), origin)
    size = sum(p.stat().st_size for p in Path(disk_store.uri).rglob("*.lance") if p.is_file())
    freed = disk_store.optimize(older_than=AT_ONCE)["bytes_freed"].sum()
    left = sum(p.stat().st_size for p in Path(disk_store.uri).rglob("*.lance") if p.is_file())
    assert freed > 0
    assert left < size


def test_a_scan_in_progress_survives_compaction_and_cleaning(tmp_path: Path, make_view, origin) -> None:
    store, other = FeatureStore.open(tmp_path), FeatureStore.open(tmp_path)
    keys, _ = write_in_pieces(store, make_view(), origin)
    scan = store.scan(make_view(), batch_size=10)
    seen = [next(scan)]
    other.optimize(older_than=AT_ONCE)
    seen.extend(scan)
    assert sorted(key for batch in seen for key in batch["seq_key"].to_pylist()) == sorted(keys)
    handle = store._connection.handle(store._catalogue.require(make_view()).table_stem)
    assert handle.tags.list() == {}


def test_a_short_read_whose_version_was_cleaned_away_reads_the_next(
    tmp_path: Path, make_view, origin, monkeypatch
) -> None:
    from glmstore.store.table import PinnedTable

    store, other = FeatureStore.open(tmp_path), FeatureStore.open(tmp_path)
    keys, vectors = write_in_pieces(store, make_view(), origin)
    gather = PinnedTable.gather
    cleaned: list[int] = []

    def late(self, offsets, out):
        if not cleaned:
            cleaned.append(self.version)
            other.optimize(older_than=AT_ONCE)
        gather(self, offsets, out)

    monkeypatch.setattr(PinnedTable, "gather", late)
    np.testing.assert_array_equal(store.read(make_view(), keys[:3]).values, vectors[:3])
    assert len(cleaned) == 1


def test_readers_and_writers_work_on_while_the_store_is_optimized(tmp_path: Path, make_view, origin) -> None:
    store, other = FeatureStore.open(tmp_path), FeatureStore.open(tmp_path)
    keys, vectors = write_in_pieces(store, make_view(), origin, pieces=20)
    stop = threading.Event()
    failures: list[BaseException] = []

    def optimizing() -> None:
        try:
            while not stop.is_set():
                other.optimize(older_than=AT_ONCE)
        except BaseException as error:  # noqa: BLE001 - reported by the test itself
            failures.append(error)

    worker = threading.Thread(target=optimizing)
    worker.start()
    try:
        for i in range(15):
            new = store.add_sequences(["ACGT" * (i + 1)])
            assert store.write(make_view(), new, vectors[i : i + 1]) == 1
            np.testing.assert_array_equal(store.read(make_view(), [keys[i], new[0]]).values, vectors[[i, i]])
    finally:
        stop.set()
        worker.join()
    assert failures == []
    assert store.views()["rows"].to_list() == [215]


def test_tags_of_dead_readers_and_unfinished_snapshots_go_in_time(
    disk_store: FeatureStore, fill, monkeypatch
) -> None:
    view, _, _ = fill(disk_store)
    handle = disk_store._connection.handle(disk_store._catalogue.require(view).table_stem)
    from glmstore.store.schema import new_stamp

    kept = disk_store.snapshot("kept")
    names = [f"reader-{new_stamp()}", f"snapshot-{new_stamp()}", "someone-elses"]
    for name in names:
        handle.tags.create(name, handle.version)
    disk_store.optimize()
    assert set(handle.tags.list()) == {*names, kept.tag}
    monkeypatch.setattr(maintenance, "_READER_GONE", timedelta(0))
    monkeypatch.setattr(maintenance, "_ABANDONED", timedelta(0))
    disk_store.optimize()
    assert set(handle.tags.list()) == {"someone-elses", kept.tag}


def test_replaced_results_and_items_are_swept_once_they_are_old(
    any_store: FeatureStore, result_row, monkeypatch
) -> None:
    predictions = pl.DataFrame(
        {
            "cell_key": "c1",
            "seed": 0,
            "item_id": "i",
            "seq_key": "k",
            "cluster": "c",
            "label": 1.0,
            "prediction": 2.0,
        }
    )
    for value in (0.1, 0.2, 0.3):
        any_store.write_results([result_row("c1", value=value)], predictions)
    for labels in ([0.0, 1.0], [1.0, 0.0]):
        any_store.register_benchmark(SPEC, toy_items(labels))
    any_store.optimize()
    assert any_store._connection.handle("results").count_rows() == 3
    assert len(any_store._connection.names("benchmark_items_")) == 2
    assert len(any_store.check().notes) == 2
    monkeypatch.setattr(maintenance, "_ABANDONED", timedelta(0))
    any_store.optimize()
    assert any_store._connection.handle("results").count_rows() == 1
    assert any_store._connection.handle("predictions").count_rows() == 1
    assert len(any_store._connection.names("benchmark_items_")) == 1
    assert any_store.results()["value"].to_list() == [0.3]
    assert any_store.predictions(["c1"])["prediction"].to_list() == [2.0]
    assert any_store.benchmark_items("toy")["label"].to_list() == [1.0, 0.0]
    assert (any_store.check().problems, any_store.check().notes) == ([], [])


def test_a_whole_store_has_no_problems(any_store: FeatureStore, fill, make_view, origin, result_row) -> None:
    assert any_store.check().ok
    fill(any_store)
    tokens = make_view(pooling="tokens")
    any_store.declare(tokens, origin(3))
    any_store.write(tokens, any_store.add_sequences(["ACG", "AC"]), np.ones((2, 3, 3)), np.array([3, 2]))
    any_store.register_benchmark(SPEC, toy_items([0.0, 1.0]))
    any_store.write_results([result_row("c1")])
    any_store.snapshot("s")
    report = any_store.check()
    assert report.problems == []
    assert report.ok
    counts = dict(report.tables.select("table", "rows").rows())
    assert (counts["sequences"], counts["results"], counts["feature_views"]) == (23, 1, 2)


def test_check_names_what_was_tampered_with(tmp_path: Path, fill, make_view, origin) -> None:
    store = FeatureStore.open(tmp_path)
    view, keys, _ = fill(store)
    store.register_benchmark(SPEC, toy_items([0.0, 1.0]))
    stem = store._catalogue.require(view).table_stem
    rows = store._connection.handle(stem)
    bad = rows.to_arrow().slice(0, 1)
    rows.add(bad)
    assert [p for p in store.check().problems if f"view {view.name} holds 1 keys more than once" in p]
    store._connection.handle("sequences").delete(f"seq_key = '{keys[5]}'")
    assert [p for p in store.check().problems if f"view {view.name} holds 1 keys that name no sequence" in p]
    store._connection.handle("sequences").update(where=f"seq_key = '{keys[6]}'", values={"sequence": "AAAA"})
    assert [p for p in store.check().problems if f"sequence {keys[6]} is not what its key" in p]
    store._connection.drop(f"benchmark_items_{store.benchmark_digest('toy')}")
    assert [p for p in store.check().problems if "benchmark toy has none of its 2 items" in p]
    for file in (tmp_path / f"{stem}.lance" / "data").iterdir():
        file.write_bytes(b"garbage")
    assert [p for p in FeatureStore.open(tmp_path).check().problems if "damaged or missing" in p]


def test_check_finds_infinity_in_a_view(store: FeatureStore, fill) -> None:
    import pyarrow as pa

    from glmstore.store.schema import vector_schema

    view, _, _ = fill(store)
    new = store.add_sequences(["ACGT"])
    vector = pa.FixedSizeListArray.from_arrays(pa.array(np.full(8, np.inf, np.float16)), 8)
    rows = pa.table([pa.array(new), vector], schema=vector_schema("float16", 8))
    store._connection.handle(store._catalogue.require(view).table_stem).add(rows)
    assert store.check().problems == [
        f"view {view.name} holds NaN or infinity. Drop the view and compute it again."
    ]


def test_the_example_in_the_documentation_runs() -> None:
    outcome = doctest.testmod(glmstore.store)
    assert outcome.attempted > 10
    assert outcome.failed == 0


@pytest.mark.parametrize("pooling", ["mean", "tokens"])
def test_a_table_that_is_being_created_is_not_swept(
    tmp_path: Path, make_view, origin, pooling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = FeatureStore.open(tmp_path / "s"), FeatureStore.open(tmp_path / "s")
    view, write_files = make_view(pooling=pooling), connection.write_fragments
    store.declare(view, origin(8))

    def interrupted(*arguments, **options):
        files = write_files(*arguments, **options)
        other.optimize(older_than=AT_ONCE)
        return files

    monkeypatch.setattr(connection, "write_fragments", interrupted)
    keys = store.add_sequences(["ACGT", "TTTT"])
    vectors = np.ones((2, 8) if pooling == "mean" else (2, 3, 8), np.float16)
    assert store.write(view, keys, vectors) == 2
    store.register_benchmark(SPEC, toy_items([0.0, 1.0]))
    np.testing.assert_array_equal(other.read(view, keys).values, vectors)
    assert len(other.benchmark_items("toy")) == 2
    assert other.check().problems == []


def test_what_a_killed_creator_left_is_swept_once_it_is_old(
    disk_store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    disk_store.add_sequences(["ACGT"])
    with monkeypatch.context() as during:
        during.setattr(connection.lance.LanceDataset, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            disk_store.register_benchmark(SPEC, toy_items([0.0]))
    (left,) = (path for path in Path(disk_store.uri).iterdir() if path.name.startswith("benchmark_items_"))
    disk_store.optimize()
    assert left.exists()
    two_days = time.time() - 2 * 86_400
    for path in left.rglob("*"):
        os.utime(path, (two_days, two_days))
    disk_store.optimize()
    assert not left.exists()


def test_a_creator_that_sleeps_until_its_table_was_made_changed_and_cleaned_loses_nothing(
    tmp_path: Path, make_view, origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, other = FeatureStore.open(tmp_path / "s"), FeatureStore.open(tmp_path / "s")
    view, commit = make_view(), connection.Connection._commit_first
    late.declare(view, origin(8))
    keys = late.add_sequences(["ACGT", "TTTT", "CCCC", "GGGG"])
    vectors = np.arange(32, dtype=np.float16).reshape(4, 8)

    def too_late(self, place, data, file_version) -> None:
        monkeypatch.setattr(connection.Connection, "_commit_first", commit)
        for row in (1, 2, 3):
            other.write(view, [keys[row]], vectors[row : row + 1])
        other.optimize(older_than=AT_ONCE)
        commit(self, str(tmp_path / "elsewhere"), data, file_version)
        assert not set(Path(place, "_versions").iterdir()) & set((tmp_path / "elsewhere/_versions").iterdir())
        shutil.copytree(tmp_path / "elsewhere", place, dirs_exist_ok=True)

    monkeypatch.setattr(connection.Connection, "_commit_first", too_late)
    late.write(view, keys[:1], vectors[:1])
    for store in (late, other, FeatureStore.open(tmp_path / "s")):
        np.testing.assert_array_equal(store.read(view, keys).values, vectors)
