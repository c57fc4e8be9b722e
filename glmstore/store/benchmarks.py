"""Benchmarks as the store holds them: a description, and the items under their digest."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa

from glmstore.benchmarks.base import SPLITS, BenchmarkData, BenchmarkSpec
from glmstore.errors import LabelError, StoreError, TableError, UnknownNameError
from glmstore.objects.writing import writing
from glmstore.store.connection import Connection
from glmstore.store.schema import BENCHMARKS, ITEMS_PREFIX, ITEMS_SCHEMA, KEY, SCHEMAS
from glmstore.store.sequences import SequenceTable

_ITEM_COLUMNS = ["item_id", "sequence", "label", "split", "cluster"]


class BenchmarkTables:
    """The `benchmarks` table, and one table of items for each digest.

    Items are written first, whole, in the one commit that creates their table; the row that names their
    digest comes last. So a reader sees the old items or the new ones and never a mixture.

    Parameters
    ----------
    connection
        The store's tables.
    sequences
        Where the items' sequences go.
    """

    def __init__(self, connection: Connection, sequences: SequenceTable) -> None:
        self._connection, self._sequences = connection, sequences

    def register(self, spec: BenchmarkSpec, data: BenchmarkData) -> str:
        """Store a benchmark and return its digest; see :meth:`FeatureStore.register_benchmark`."""
        digest = data.digest
        row = {
            "name": spec.name,
            "digest": digest,
            "spec": spec.model_dump_json(),
            "facts": json.dumps(data.facts),
            "n_items": len(data.items),
            "registered_at": datetime.now(UTC),
        }
        self._write_items(digest, _check_items(spec, data))
        held = self._rows().filter(pl.col("name") == spec.name)
        unchanged = [k for k in row if k != "registered_at"]
        if len(held) and all(held[k][0] == row[k] for k in unchanged):
            return digest
        table = self._connection.write(BENCHMARKS, SCHEMAS[BENCHMARKS])
        with writing(self._connection.uri):
            (
                table.merge_insert("name")
                .when_matched_update_all()
                .when_not_matched_insert_all()
                .execute(pa.Table.from_pylist([row], schema=SCHEMAS[BENCHMARKS]))
            )
        return digest

    def _write_items(self, digest: str, items: pl.DataFrame) -> None:
        keys = self._sequences.add(items["sequence"].to_list())
        content = (
            items.with_columns(pl.Series(KEY, keys)).select(ITEMS_SCHEMA.names).to_arrow().cast(ITEMS_SCHEMA)
        )
        table, made = self._connection.create(f"{ITEMS_PREFIX}{digest}", content)
        if not made and table.count_rows() != len(content):  # damaged: what has this digest is of one size
            with writing(self._connection.uri):
                table.add(content, mode="overwrite")

    def lacks(self, name: str) -> str:
        """Return what is gone of a benchmark, in words; see :meth:`FeatureStore.benchmark_lacks`."""
        row = self.row(name)
        items = self._connection.read(f"{ITEMS_PREFIX}{row['digest']}")
        if items is None or items.rows != row["n_items"]:
            held = "none" if items is None else items.rows
            return f"has {held} of its {row['n_items']} items"
        known = self._sequences.holds(items.frame([KEY])[KEY].to_list())
        return "" if known else "refers to sequences the store lacks"

    def _rows(self) -> pl.DataFrame:
        table = self._connection.read(BENCHMARKS)
        if table is None:
            return pl.DataFrame(pl.from_arrow(SCHEMAS[BENCHMARKS].empty_table()))
        return table.frame()

    def row(self, name: str) -> dict[str, Any]:
        """Return the `benchmarks` row of `name`.

        Raises
        ------
        UnknownNameError
            If it is not registered here.
        """
        rows = self._rows()
        held = rows.filter(pl.col("name") == name)
        if held.is_empty():
            hint = "`glmstore run` and the flows build-features and run-suite register benchmarks."
            raise UnknownNameError("benchmark in this store", name, rows["name"].to_list(), hint)
        return held.row(0, named=True)

    def spec(self, name: str) -> BenchmarkSpec:
        """Return the description stored with the items."""
        return BenchmarkSpec.model_validate_json(self.row(name)["spec"])

    def facts(self, name: str) -> dict[str, float | int | str]:
        """Return the facts measured when it was loaded."""
        facts: dict[str, float | int | str] = json.loads(self.row(name)["facts"])
        return facts

    def items(self, name: str) -> pl.DataFrame:
        """Return item_id, seq_key, sequence, label, split, cluster, in the benchmark's order.

        Raises
        ------
        UnknownNameError
            If it is not registered here.
        StoreError
            If its items are gone.
        """
        digest = self.row(name)["digest"]
        table = self._connection.read(f"{ITEMS_PREFIX}{digest}")
        if table is None:
            raise StoreError(f"the items of benchmark {name} ({digest}) are gone; register it again.")
        items = table.frame()
        sequences = self._sequences.frame(items[KEY].to_list())["sequence"]
        return items.with_columns(sequences).select("item_id", KEY, *_ITEM_COLUMNS[1:])

    def frame(self) -> pl.DataFrame:
        """Return name, title, family, label_kind, split, n_items, digest and registered_at, by name."""
        rows = []
        for row in self._rows().sort("name").iter_rows(named=True):
            spec = json.loads(row["spec"])
            rows.append({c: spec.get(c, row.get(c)) for c in _FRAME_SCHEMA})
        return pl.DataFrame(rows, schema=_FRAME_SCHEMA)


_FRAME_SCHEMA: dict[str, Any] = {
    "name": pl.String,
    "title": pl.String,
    "family": pl.String,
    "label_kind": pl.String,
    "split": pl.String,
    "n_items": pl.Int64,
    "digest": pl.String,
    "registered_at": pl.Datetime("us", "UTC"),
}


def _check_items(spec: BenchmarkSpec, data: BenchmarkData) -> pl.DataFrame:
    """Return the items in their stored types, or refuse the first that cannot be one."""
    lacking = set(_ITEM_COLUMNS) - set(data.items.columns)
    if lacking or data.items.is_empty():
        what = f"lacks the columns {', '.join(sorted(lacking))}" if lacking else "has no items"
        raise TableError(f"benchmark {spec.name} {what}.")
    items = data.items.select(_ITEM_COLUMNS).with_columns(pl.col("label").cast(pl.Float64))
    unlabelled = items.filter(pl.col("label").is_null() | ~pl.col("label").is_finite())
    if len(unlabelled):
        raise LabelError(
            f"benchmark {spec.name}: item {unlabelled['item_id'][0]} and {len(unlabelled) - 1} others lack a "
            f"finite label. Leave such rows out and count them in `facts`."
        )
    repeated = items.filter(pl.col("item_id").is_duplicated())
    if len(repeated):
        raise TableError(f"benchmark {spec.name}: item_id {repeated['item_id'][0]} is not unique.")
    astray = items.filter(~pl.col("split").is_in(SPLITS))
    if len(astray):
        raise TableError(
            f"benchmark {spec.name}: item {astray['item_id'][0]} is in split {astray['split'][0]!r}; "
            f"there are {', '.join(SPLITS)}."
        )
    return items
