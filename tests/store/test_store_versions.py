from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest

from glmstore.errors import SequenceKeyError, StoreVersionError
from glmstore.sequences.normalise import seq_keys
from glmstore.store import FeatureStore, migrations
from glmstore.store.arrays import prepare
from glmstore.store.schema import SCHEMA_VERSION, SCHEMAS, VECTOR_FILES, VIEWS

SEQUENCES = ["ACGTACGT", "TTAG", "N"]


def store_row(version: int) -> pa.Table:
    row = {
        "store_id": "f" * 32,
        "created_by": "glmstore 0.0",
        "schema_version": version,
        "created_at": datetime.now(UTC),
    }
    return pa.Table.from_pylist([row], schema=SCHEMAS["store"])


@pytest.fixture
def old_store(tmp_path: Path, make_view, origin):
    """A store as layout 1 had it, table by table: its sequences have no ``length``."""
    database = lancedb.connect(tmp_path)
    database.create_table("store", store_row(1))
    old = pa.schema([SCHEMAS["sequences"].field("seq_key"), SCHEMAS["sequences"].field("sequence")])
    database.create_table("sequences", pa.table([seq_keys(SEQUENCES), SEQUENCES], schema=old))
    view = make_view()
    declared = {
        "view_id": view.view_id,
        "name": view.name,
        "generation": "00c0ffee",
        "view": view.model_dump_json(),
        "provenance": origin(2).model_dump_json(),
        "declared_at": datetime.now(UTC),
    }
    database.create_table(VIEWS, pa.Table.from_pylist([declared], schema=SCHEMAS[VIEWS]))
    vectors = np.arange(6, dtype=np.float16).reshape(3, 2)
    (group,) = prepare(view, 2, seq_keys(SEQUENCES), vectors, None)
    rows = group.table(0, 3)
    database.create_table(
        f"{view.table_stem}_00c0ffee",
        rows,
        schema=rows.schema,
        storage_options={"new_table_data_storage_version": VECTOR_FILES},
    )
    return tmp_path, view, vectors


def test_a_store_of_a_newer_glmstore_is_refused_by_name_and_left_alone(tmp_path: Path) -> None:
    lancedb.connect(tmp_path).create_table("store", store_row(SCHEMA_VERSION + 1))
    before = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*"))
    with pytest.raises(
        StoreVersionError, match=rf"layout {SCHEMA_VERSION + 1}.* newer .*pip install --upgrade"
    ):
        FeatureStore.open(tmp_path)
    assert sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*")) == before


def test_an_older_store_opens_and_asks_for_its_migration(old_store) -> None:
    place, view, _ = old_store
    store = FeatureStore.open(place, create=False)
    keys = seq_keys(SEQUENCES)
    for use in (
        store.sequences,
        lambda: store.read(view, keys),
        lambda: store.missing(view, keys),
        lambda: store.add_sequences(["AAAA"]),
        store.results,
        lambda: store.snapshot("x"),
        store.views,
        store.optimize,
    ):
        with pytest.raises(StoreVersionError, match=r"layout 1; .*glmstore migrate --store"):
            use()
    report = store.check()
    assert not report.ok
    assert "glmstore migrate" in report.problems[0]


def test_migrating_keeps_every_row_and_adds_what_the_layout_gained(old_store) -> None:
    place, view, vectors = old_store
    store = FeatureStore.open(place)
    assert store.migrate() == 1
    keys = seq_keys(SEQUENCES)
    assert store.sequences(keys).rows() == [(k, s, len(s)) for k, s in zip(keys, SEQUENCES, strict=True)]
    np.testing.assert_array_equal(store.read(view, keys).values, vectors)
    assert store.store_id == "f" * 32
    new = store.add_sequences(["GATTACA", "TTAG"])
    assert store.sequences(new)["length"].to_list() == [7, 4]
    assert store.write(view, new, np.ones((2, 2))) == 1
    again = FeatureStore.open(place, create=False)
    assert again.check().problems == []
    assert again.migrate() == SCHEMA_VERSION


def test_a_migration_that_dies_leaves_the_old_layout_and_runs_again(old_store, monkeypatch) -> None:
    place, view, vectors = old_store
    real = migrations.MIGRATIONS[1]

    def dies_at_its_end(connection) -> None:
        real(connection)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(migrations.MIGRATIONS, 1, dies_at_its_end)
        store = FeatureStore.open(place)
        with pytest.raises(KeyboardInterrupt):
            store.migrate()
        with pytest.raises(StoreVersionError):
            store.read(view, seq_keys(SEQUENCES))
    untouched = lancedb.connect(place).open_table("sequences").to_arrow()
    assert untouched.select(["seq_key", "sequence"]).to_pydict() == {
        "seq_key": seq_keys(SEQUENCES),
        "sequence": SEQUENCES,
    }
    store = FeatureStore.open(place)
    assert store.migrate() == 1
    np.testing.assert_array_equal(store.read(view, seq_keys(SEQUENCES)).values, vectors)
    assert store.check().problems == []


def test_a_layout_from_which_no_way_leads_is_said_to_be_so(tmp_path: Path) -> None:
    lancedb.connect(tmp_path).create_table("store", store_row(0))
    with pytest.raises(StoreVersionError, match="no way from layout 0"):
        FeatureStore.open(tmp_path).migrate()


def test_every_older_layout_has_a_step_that_leads_on() -> None:
    assert sorted(migrations.MIGRATIONS) == list(range(1, SCHEMA_VERSION))


def test_a_present_store_needs_no_migration(store: FeatureStore) -> None:
    assert store.migrate() == SCHEMA_VERSION
    with pytest.raises(SequenceKeyError):
        store.sequences(["x"])
