"""Open a store, verify it, and go back in it: what does not depend on what it holds."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import polars as pl
import pyarrow as pa

import glmstore
from glmstore.errors import StoreError, StoreNotFoundError
from glmstore.objects.writing import writing
from glmstore.store import check as checking
from glmstore.store import migrations
from glmstore.store.connection import Connection
from glmstore.store.schema import SCHEMA_VERSION, SCHEMAS, STORE
from glmstore.store.snapshots import Snapshot, Snapshots


class OpenStore:
    """A store that lies at a URI, in one layout, now or at a snapshot.

    Attributes
    ----------
    uri
        Where the store lies: an absolute path, or a URI of another scheme.
    store_id
        Thirty-two hex digits drawn when the store was made.
    """

    def __init__(self, connection: Connection, store_id: str, layout: int) -> None:
        self.uri = connection.uri
        self.store_id = store_id
        self._connection = connection
        connection.refusal = migrations.refusal(connection.uri, layout)
        self._snapshots = Snapshots(connection)

    def __repr__(self) -> str:
        at = f" at snapshot {self._connection.snapshot!r}" if self._connection.snapshot else ""
        return f"{type(self).__name__}({self.uri!r}){at}"

    @classmethod
    def open(cls, uri: str | Path, *, create: bool = True) -> Self:
        """Open the store at `uri`, making it if there is none.

        Parameters
        ----------
        uri
            ``memory://`` (a new store, gone with this object), a directory, ``file://…`` or ``s3://…``.
        create
            False: an absent store is an error.

        Raises
        ------
        StoreNotFoundError
            If there is no store and `create` is false.
        StoreVersionError
            If a newer glmstore wrote it; an older one opens, and waits for :meth:`migrate`.
        StoreNotWritableError
            If it would have to be made where nothing can be written.
        UnsafeStorageError, UnfitStorageError
            If it lies in object storage that loses rows, or that cannot delete in bulk.
        S3UnavailableError, S3RefusedError
            If the object storage is away for now, or the credentials may not even look.
        StoreError
            If a LanceDB database of another kind or a file lies there, or no store can.
        """
        connection = Connection.open(uri, create=create)
        layout = migrations.stored_version(connection)
        if layout is None:
            _make(connection, create=create)
            layout = migrations.stored_version(connection) or SCHEMA_VERSION
        refused = migrations.refusal(connection.uri, layout)
        if refused is not None and layout > SCHEMA_VERSION:
            raise refused
        table = connection.read(STORE)
        if table is None:
            raise StoreNotFoundError(f"the store at {connection.uri} was removed while it was opened.")
        return cls(connection, str(table.frame(["store_id"])["store_id"][0]), layout)

    def snapshot(self, name: str | None = None) -> Snapshot:
        """Fix the present state of the whole store under a name.

        Raises
        ------
        DuplicateNameError
            If the name is taken.
        ValueError
            If it cannot be a name.
        """
        return self._snapshots.take(name)

    def snapshots(self) -> pl.DataFrame:
        """Return name, time (UTC) and number of tables of every snapshot, oldest first."""
        return self._snapshots.frame()

    def forget_snapshot(self, snapshot: Snapshot | str) -> None:
        """Remove a snapshot, so that :meth:`optimize` may free what only it still held.

        Raises
        ------
        UnknownNameError
            If there is none of this name.
        """
        self._snapshots.forget(snapshot)

    def at(self, snapshot: Snapshot | str) -> Self:
        """Return this store as it was: every reading method, and no writing one.

        "As of" means a version of the store: what had been written when the snapshot was taken.

        Raises
        ------
        UnknownNameError
            If there is no such snapshot.
        StoreVersionError
            If it was taken under another layout.
        """
        held = self._snapshots.get(snapshot)
        return type(self)(self._connection.at(held.versions, held.name), self.store_id, held.schema_version)

    def migrate(self) -> int:
        """Bring an older store to the present layout, whole or not at all; return the layout it had.

        Raises
        ------
        StoreVersionError
            If no way leads there.
        """
        found = migrations.migrate(self._connection.whatever_layout())
        self._connection.refusal = None
        return found

    def check(self) -> checking.StoreReport:
        """Verify layout, tables, keys, sequences, snapshots and a sample of the numbers; changes nothing."""
        return checking.check(self._connection.whatever_layout())


def _make(connection: Connection, *, create: bool) -> None:
    names = connection.names()
    if names and STORE not in names:
        raise StoreError(f"{connection.uri} holds a LanceDB database that is no glmstore ({names[0]}, …).")
    if not create:
        raise StoreNotFoundError(
            f"no store lies at {connection.uri}. Check the place, or fill one with `glmstore run`."
        )
    row = {
        "store_id": uuid.uuid4().hex,
        "created_by": f"glmstore {glmstore.__version__}",
        "schema_version": SCHEMA_VERSION,
        "created_at": datetime.now(UTC),
    }
    with writing(connection.uri):
        connection.create(STORE, pa.Table.from_pylist([row], schema=SCHEMAS[STORE]))
