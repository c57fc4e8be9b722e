"""One place that talks to LanceDB: open, create, list and drop tables at a URI, and name what went wrong."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

import lance
import pyarrow as pa
from lance.fragment import write_fragments

from glmstore.errors import (
    ReadOnlySnapshotError,
    StoreVersionError,
)
from glmstore.objects.places import store_place
from glmstore.objects.writing import writing
from glmstore.store.connecting import connect
from glmstore.store.schema import check_table_name
from glmstore.store.table import PinnedTable

MEMORY = "memory://"
_IN_THIS_PROCESS = Lock()
_INDEXED_ROWS = 40_000_000
"""Rows whose key indexes are kept in memory, over all tables of a connection; 40 bytes each."""


def normalise_uri(uri: str | Path) -> str:
    """Return the URI under which LanceDB is opened: local places as absolute paths, others in one spelling.

    Raises
    ------
    StoreError
        If a store cannot lie there; see :func:`~glmstore.objects.places.store_place`.
    """
    text = str(uri)
    if text.lower().startswith(MEMORY):
        return MEMORY + text[len(MEMORY) :]
    return str(store_place(text))


def local_path(uri: str) -> Path | None:
    """Return the directory of a normalised URI, None where it is no local one."""
    return None if uri.startswith(("s3://", MEMORY)) else Path(uri)


class Connection:
    """The tables at one URI, at their latest versions or pinned to those of a snapshot.

    Parameters
    ----------
    uri
        Normalised URI.
    database
        The open LanceDB connection.
    options
        What Lance has to be told to reach `uri`.
    pinned
        Table name -> version to read, for a snapshot; None reads the latest.
    snapshot
        Name of that snapshot, for messages.

    Attributes
    ----------
    refusal
        Raised by everything that touches a table, while the store has another layout than this glmstore.
    """

    def __init__(
        self,
        uri: str,
        database: Any,
        options: dict[str, str] | None = None,
        pinned: Mapping[str, int] | None = None,
        snapshot: str = "",
    ) -> None:
        self.uri = uri
        self.snapshot = snapshot
        self.refusal: StoreVersionError | None = None
        self._database, self._options = database, options
        self._pinned = pinned
        self._handles: dict[str, Any] = {}
        self._read: OrderedDict[str, PinnedTable] = OrderedDict()
        self._lock = Lock()

    @classmethod
    def open(cls, uri: str | Path, *, create: bool) -> Connection:
        """Connect to `uri`; with `create` the local directory is made if need be.

        Raises
        ------
        StoreNotFoundError
            If nothing lies at a local `uri` and `create` is false.
        StoreNotWritableError
            If the directory cannot be made, or may not be looked at.
        UnsafeStorageError
            If it lies in object storage that lets two writers of one object win.
        UnfitStorageError
            If it lies in object storage that cannot delete in bulk.
        S3UnavailableError
            If the object storage is away or has too much to do; it may pass.
        StoreError
            If there is a file in its place, a store cannot lie there, or the storage refuses.
        """
        place = normalise_uri(uri)
        with writing(place):
            return cls(place, *connect(place, local_path(place), create=create))

    def at(self, versions: Mapping[str, int], snapshot: str) -> Connection:
        """Return a read-only connection to the same tables at these versions."""
        return Connection(self.uri, self._database, self._options, versions, snapshot)

    def whatever_layout(self) -> Connection:
        """Return a connection to the same tables that refuses no layout; for migrations and checks."""
        return Connection(self.uri, self._database, self._options, self._pinned, self.snapshot)

    @property
    def in_memory(self) -> bool:
        """Whether the tables live in this process only."""
        return self.uri.startswith(MEMORY)

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of the tables that begin with `prefix`, sorted."""
        self._check_layout()
        if self._pinned is not None:
            return sorted(name for name in self._pinned if name.startswith(prefix))
        found: list[str] = []
        token: str | None = None
        while True:
            page = self._database.list_tables(page_token=token, limit=1000)
            found += page.tables
            token = page.page_token
            if not token:
                return sorted(name for name in found if name.startswith(prefix))

    def handle(self, name: str) -> Any | None:
        """Return the LanceDB table called `name`, None if there is none."""
        self._check_layout()
        if name not in self._handles:
            version = None
            if self._pinned is not None:
                if name not in self._pinned:
                    return None
                version = self._pinned[name]
            try:
                self._handles[name] = self._database.open_table(check_table_name(name), version=version)
            except ValueError as error:
                if "was not found" not in str(error):
                    raise
                return None
        return self._handles[name]

    def read(self, name: str) -> PinnedTable | None:
        """Return the table fixed at the version that is current now, None if there is no such table.

        The same object comes back while the version stands, so what it has cached is used again.
        """
        handle = self.handle(name)
        if handle is None:
            return None
        known = self._read.get(name)
        if known is None or known.version != handle.version:
            known = PinnedTable.of(self._database, handle, durable=not self.in_memory)
        with self._lock:
            self._read[name] = known
            self._read.move_to_end(name)
            self._forget_indexes()
        return known

    def write(self, name: str, schema: pa.Schema) -> Any:
        """Return the LanceDB table called `name` for writing, created empty where there is none.

        Raises
        ------
        ReadOnlySnapshotError
            If this connection is pinned to a snapshot.
        StoreNotWritableError
            If the table cannot be created.
        """
        return self.create(name, schema.empty_table())[0]

    def create(self, name: str, data: pa.Table, file_version: str | None = None) -> tuple[Any, bool]:
        """Create `name` holding `data` in one commit unless it is there; return it, and whether it was made.

        Parameters
        ----------
        name
            Of the table.
        data
            Its first rows.
        file_version
            Of Lance's files, for a table whose first version has rows; None: Lance's default.

        Raises
        ------
        ReadOnlySnapshotError, StoreNotWritableError
            As by :meth:`write`.
        """
        self.require_writable()
        if (there := self.handle(name)) is not None:
            return there, False
        return self._create(name, data, file_version)

    def _create(self, name: str, data: pa.Table, file_version: str | None) -> tuple[Any, bool]:
        """Make version 1 of a table hold `data`; return its handle, and whether this call made it.

        LanceDB's own `create_table` looks whether a table exists and then overwrites: of two that create one
        at once, the later replaces what others have meanwhile written. Here version 1 is a commit like any
        other, a new object that one writer wins, and is never tried again on top of another version.
        """
        check_table_name(name)
        with writing(self.uri):
            if self.in_memory:
                with _IN_THIS_PROCESS:
                    if (there := self.handle(name)) is not None:
                        return there, False
                    options = {"new_table_data_storage_version": file_version} if file_version else None
                    self._database.create_table(name, data, storage_options=options)
                    return self.handle(name), True
            try:
                self._commit_first(f"{self.uri.rstrip('/')}/{name}.lance", data, file_version)
            except (OSError, RuntimeError, ValueError):
                if (there := self.handle(name)) is not None:  # another writer was first
                    return there, False
                raise
            made = self._handles[name] = self._database.open_table(name)
        return made, made.version == 1

    def _commit_first(self, place: str, data: pa.Table, file_version: str | None) -> None:
        options = self._options
        files = write_fragments(
            data,
            place,
            schema=data.schema,
            mode="create",
            data_storage_version=file_version,
            storage_options=options,
        )
        lance.LanceDataset.commit(
            place,
            lance.LanceOperation.Overwrite(data.schema, files),
            read_version=0,
            max_retries=0,
            storage_options=options,
        )

    def drop(self, name: str) -> None:
        """Remove a table and its files, if it is there."""
        self.require_writable()
        self._handles.pop(name, None)
        with self._lock:
            self._read.pop(name, None)
        with writing(self.uri), suppress(FileNotFoundError):
            self._database.drop_table(check_table_name(name), ignore_missing=True)

    def require_writable(self) -> None:
        """Refuse if this connection is pinned.

        Raises
        ------
        ReadOnlySnapshotError
            Naming the snapshot.
        """
        if self._pinned is not None:
            raise ReadOnlySnapshotError(
                f"this store is open at snapshot {self.snapshot!r}, which never changes. "
                f"Write through FeatureStore.open({self.uri!r}) instead."
            )

    def _check_layout(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    def _forget_indexes(self) -> None:
        """Let go of the key indexes used longest ago, once all together they pass the limit."""
        total = 0
        for table in reversed(self._read.values()):
            total += table.indexed_rows
            if total > _INDEXED_ROWS:
                table.forget_keys()
