from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import lancedb
import numpy as np
import polars as pl
import pytest

from glmstore.errors import DuplicateNameError, MissingFeaturesError, ReadOnlySnapshotError, UnknownNameError
from glmstore.objects.s3 import lance_options, s3_client
from glmstore.store import FeatureStore, Snapshot, maintenance
from glmstore.store.pins import set_tag
from infra.chaos.proxy import Proxy


def test_a_snapshot_shows_the_store_as_it_was(any_store: FeatureStore, fill, result_row, origin) -> None:
    view, keys, vectors = fill(any_store)
    any_store.write_results([result_row("c1")])
    taken = any_store.snapshot("before")
    new = any_store.add_sequences(["AAAA"])
    any_store.write(view, new, vectors[:1])
    any_store.write_results([result_row("c1", value=0.9), result_row("c2")])
    any_store.declare(view.model_copy(update={"layer": 2}), origin(8))

    then = any_store.at(taken)
    assert isinstance(taken, Snapshot)
    np.testing.assert_array_equal(then.read(view, keys).values, vectors)
    assert then.missing(view, new) == new
    with pytest.raises(MissingFeaturesError):
        then.read(view, new)
    assert then.sequences().height == 20
    assert then.results()["value"].to_list() == [0.5]
    assert then.completed(["c1", "c2"]) == {"c1"}
    assert then.views().height == 1
    assert then.store_id == any_store.store_id
    assert any_store.missing(view, new) == []
    assert any_store.results().height == 2


def test_a_snapshot_is_opened_by_name_from_another_process_too(tmp_path, fill) -> None:
    store = FeatureStore.open(tmp_path)
    view, keys, vectors = fill(store)
    store.snapshot("v1")
    store.write(view, store.add_sequences(["AAAA"]), vectors[:1])
    again = FeatureStore.open(tmp_path, create=False).at("v1")
    assert again.views()["rows"].to_list() == [20]
    assert [batch.num_rows for batch in again.scan(view)] == [20]
    assert again.similar(view, vectors[0].astype(np.float32), 1)["seq_key"].to_list() == [keys[0]]
    assert "snapshot 'v1'" in repr(again)


def test_a_store_at_a_snapshot_refuses_every_write_by_name(
    store: FeatureStore, fill, result_row, make_view, origin
):
    view, keys, vectors = fill(store)
    then = store.at(store.snapshot("fixed"))
    writes = [
        lambda: then.add_sequences(["AAAA"]),
        lambda: then.declare(make_view(layer=3), origin()),
        lambda: then.write(view, keys, vectors),
        lambda: then.write_results([result_row("c1")]),
        lambda: then.drop(view),
        then.optimize,
        then.migrate,
        lambda: then.snapshot("again"),
        lambda: then.forget_snapshot("fixed"),
    ]
    for write in writes:
        with pytest.raises(ReadOnlySnapshotError, match="snapshot 'fixed', which never changes"):
            write()
    assert store.views()["rows"].to_list() == [20]
    assert store.snapshots()["name"].to_list() == ["fixed"]


def test_snapshots_are_listed_with_their_time(store: FeatureStore, fill) -> None:
    assert store.snapshots().height == 0
    fill(store)
    before = datetime.now(UTC)
    store.snapshot("b")
    unnamed = store.snapshot()
    frame = store.snapshots()
    assert frame["name"].to_list() == ["b", unnamed.name]
    assert frame.schema["created_at"] == pl.Datetime("us", "UTC")
    after = datetime.now(UTC)
    assert all(before <= when <= after for when in frame["created_at"])
    assert unnamed.name.startswith((f"{before:%Y%m%d}T", f"{after:%Y%m%d}T"))


def test_a_name_is_taken_once_and_must_be_plain(store: FeatureStore) -> None:
    store.snapshot("v1")
    with pytest.raises(DuplicateNameError, match="'v1'"):
        store.snapshot("v1")
    for wrong in ("", "a/b", "../x", "a'b", "-", "x" * 101):
        with pytest.raises(ValueError, match="cannot name a snapshot"):
            store.snapshot(wrong)
    with pytest.raises(UnknownNameError, match="Did you mean v1"):
        store.at("v11")


def test_what_a_snapshot_holds_outlives_drop_and_cleaning(disk_store: FeatureStore, fill) -> None:
    view, keys, vectors = fill(disk_store)
    disk_store.snapshot("kept")
    disk_store.drop(view)
    disk_store.optimize(older_than=timedelta(microseconds=1))
    assert disk_store.missing(view, keys) == keys
    np.testing.assert_array_equal(disk_store.at("kept").read(view, keys).values, vectors)
    assert disk_store.check().ok


def test_a_forgotten_snapshot_lets_its_files_go(tmp_path, fill, monkeypatch) -> None:
    store = FeatureStore.open(tmp_path)
    view, _, _ = fill(store)
    store.snapshot("kept")
    store.drop(view)
    store.forget_snapshot("kept")
    assert store.snapshots().height == 0
    assert list(tmp_path.glob("view_*"))
    monkeypatch.setattr(maintenance, "_ABANDONED", timedelta(0))
    store.optimize()
    assert not list(tmp_path.glob("view_*"))
    with pytest.raises(UnknownNameError):
        store.forget_snapshot("kept")


def tags(store: FeatureStore) -> set[str]:
    """Return the tags of the table of sequences."""
    options = lance_options() if store.uri.startswith("s3://") else None
    return set(lancedb.connect(store.uri, storage_options=options).open_table("sequences").tags.list())


def test_a_snapshot_whose_maker_was_killed_is_not_there_and_goes_after_a_day(
    disk_store: FeatureStore, fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(disk_store)
    disk_store.snapshot("whole")
    kept = tags(disk_store)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("glmstore.store.snapshots.Snapshots._record", killed)
        with pytest.raises(KeyboardInterrupt):
            disk_store.snapshot("half")
    assert disk_store.snapshots()["name"].to_list() == ["whole"]
    assert len(tags(disk_store)) == 2
    disk_store.optimize()
    assert len(tags(disk_store)) == 2, "a maker that is slow keeps its tags"
    monkeypatch.setattr(maintenance, "_ABANDONED", timedelta(0))
    disk_store.optimize()
    assert tags(disk_store) == kept
    assert disk_store.snapshot("half").name == "half"
    assert disk_store.at("half").views()["rows"].to_list() == disk_store.at("whole").views()["rows"].to_list()


@pytest.mark.parametrize("fault", ["unanswered", "failing"])
def test_answers_about_tags_that_get_lost_harm_neither_a_snapshot_nor_a_scan(
    s3: Any, fill, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    lost: list[tuple[str, str]] = []

    def lose_the_first_answer(method: str, path: str) -> None:
        tag_set, tag_deleted = method == "PUT" and "/_refs/tags/" in path, method == "POST"
        first = (tag_set or tag_deleted) and getattr(proxy, fault) == 0
        setattr(proxy, fault, float(first))  # read next, for this answer
        if first:
            lost.append((method, path))

    with Proxy(s3.port, watch=lose_the_first_answer) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        s3_client.cache_clear()
        store = FeatureStore.open(f"{s3.bucket('lost-answers')}/{uuid.uuid4().hex}")
        view, _, _ = fill(store)
        taken = store.snapshot("kept")
        assert tags(store) == {taken.tag}
        assert sum(batch.num_rows for batch in store.scan(view)) == 20
        assert store.at("kept").views()["rows"].to_list() == [20]
        store.forget_snapshot("kept")
        assert tags(store) == set()
    methods = [method for method, _ in lost]
    set_or_deleted = len(taken.versions) + 1  # by the snapshot, and by the scan
    assert methods.count("PUT") == set_or_deleted
    assert methods.count("POST") >= set_or_deleted  # the check of the storage deletes what it wrote too


def test_a_tag_that_points_elsewhere_is_no_success(disk_store: FeatureStore, fill) -> None:
    fill(disk_store)
    table = lancedb.connect(disk_store.uri).open_table("sequences")
    set_tag(table, "mine", 1)
    set_tag(table, "mine", 1)
    with pytest.raises(RuntimeError, match="already exists"):
        set_tag(table, "mine", 2)
