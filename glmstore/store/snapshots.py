"""Named states of the whole store that stay readable whatever is written, compacted or dropped later."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa

import glmstore
from glmstore.errors import DuplicateNameError, StoreError, UnknownNameError
from glmstore.objects.writing import writing
from glmstore.store.connection import Connection
from glmstore.store.pins import SNAPSHOT_TAG, set_tag
from glmstore.store.schema import (
    PREDICTIONS,
    RESULTS,
    SCHEMA_VERSION,
    SCHEMAS,
    SEQUENCES,
    SNAPSHOTS,
    VIEWS,
    new_stamp,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FIRST, _LAST = (RESULTS, PREDICTIONS), (VIEWS, SEQUENCES)


@dataclass(frozen=True)
class Snapshot:
    """A named state of a store.

    Attributes
    ----------
    name
        Unique in the store.
    created_at
        UTC. When the state was taken: a store version, not the time of any event in the data.
    versions
        Table name -> version.
    tag
        The tag that keeps each of these versions from being cleaned away.
    schema_version
        Layout of these versions: a migration changes the present, never a snapshot.
    """

    name: str
    created_at: datetime
    versions: Mapping[str, int]
    tag: str
    schema_version: int


class Snapshots:
    """The `snapshots` table and the tags it stands for.

    Parameters
    ----------
    connection
        The store's tables, at their latest versions.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def take(self, name: str | None) -> Snapshot:
        """Record the present state under `name`, by default the time of day and four random digits.

        The row in `snapshots` is written last: a snapshot that can be seen is whole. Tables that point to
        others are fixed before those, so that everything a row refers to is in the snapshot too.

        Raises
        ------
        DuplicateNameError
            If the name is taken.
        ValueError
            If the name is not 1 to 100 letters, digits, '.', '_' or '-'.
        """
        now = datetime.now(UTC)
        stamp = new_stamp()
        name = name if name is not None else f"{now:%Y%m%dT%H%M%SZ}-{stamp[-4:]}"
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot name a snapshot: 1 to 100 letters, digits, '.', '_' or '-'.")
        self._connection.require_writable()
        if name in self.all():
            raise DuplicateNameError(f"there is a snapshot {name!r} already; choose another name.")
        tag = f"{SNAPSHOT_TAG}{stamp}"
        versions = {table: self._tag(table, tag) for table in self._in_order()}
        snapshot = Snapshot(name, now, versions, tag, SCHEMA_VERSION)
        self._record(snapshot)
        return snapshot

    def _in_order(self) -> list[str]:
        there = [n for n in self._connection.names() if n != SNAPSHOTS]
        there = [n for n in there if self._connection.handle(n) is not None]
        middle = [n for n in there if n not in _FIRST + _LAST]
        return [*(n for n in _FIRST if n in there), *middle, *(n for n in _LAST if n in there)]

    def _tag(self, name: str, tag: str) -> int:
        handle = self._connection.handle(name)
        if handle is None:
            raise StoreError(f"table {name} was dropped while the snapshot was taken; take it again.")
        with writing(self._connection.uri):
            version = int(handle.version)
            set_tag(handle, tag, version)
        return version

    def _record(self, snapshot: Snapshot) -> None:
        row = {
            "name": snapshot.name,
            "tag": snapshot.tag,
            "versions": json.dumps(dict(snapshot.versions)),
            "created_by": f"glmstore {glmstore.__version__}",
            "schema_version": snapshot.schema_version,
            "created_at": snapshot.created_at,
        }
        table = self._connection.write(SNAPSHOTS, SCHEMAS[SNAPSHOTS])
        with writing(self._connection.uri):
            merged = (
                table.merge_insert("name")
                .when_not_matched_insert_all()
                .execute(pa.Table.from_pylist([row], schema=SCHEMAS[SNAPSHOTS]))
            )
        if merged.num_inserted_rows == 0:
            raise DuplicateNameError(f"another process has just taken a snapshot {snapshot.name!r}.")

    def all(self) -> dict[str, Snapshot]:
        """Return every snapshot by name, oldest first."""
        table = self._connection.read(SNAPSHOTS)
        if table is None:
            return {}
        rows = table.frame().sort("created_at").iter_rows(named=True)
        fields = ("name", "created_at", "versions", "tag", "schema_version")
        return {
            row["name"]: Snapshot(**{f: json.loads(row[f]) if f == "versions" else row[f] for f in fields})
            for row in rows
        }

    def frame(self) -> pl.DataFrame:
        """Return ``name``, ``created_at`` (UTC) and number of ``tables`` of every snapshot, oldest first."""
        rows = [
            {"name": s.name, "created_at": s.created_at, "tables": len(s.versions)}
            for s in self.all().values()
        ]
        schema: dict[str, Any] = {
            "name": pl.String,
            "created_at": pl.Datetime("us", "UTC"),
            "tables": pl.Int64,
        }
        return pl.DataFrame(rows, schema=schema)

    def get(self, snapshot: Snapshot | str) -> Snapshot:
        """Return the snapshot, as the store has it.

        Raises
        ------
        UnknownNameError
            If there is none of this name.
        """
        name = snapshot if isinstance(snapshot, str) else snapshot.name
        known = self.all()
        if name not in known:
            raise UnknownNameError("snapshot", name, known)
        return known[name]

    def forget(self, snapshot: Snapshot | str) -> None:
        """Remove a snapshot: first its row, then its tags; its files go with the next `optimize`.

        Raises
        ------
        UnknownNameError
            If there is none of this name.
        """
        self._connection.require_writable()
        held = self.get(snapshot)
        table = self._connection.write(SNAPSHOTS, SCHEMAS[SNAPSHOTS])
        with writing(self._connection.uri):
            table.delete(f"name = '{held.name}'")
            for name in held.versions:
                handle = self._connection.handle(name)
                if handle is not None and held.tag in handle.tags.list():
                    handle.tags.delete(held.tag)
