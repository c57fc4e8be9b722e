"""The vectors of the views: what is missing, write, read, scan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import compress
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from glmstore import metering
from glmstore.errors import MissingFeaturesError
from glmstore.store.arrays import Group, prepare
from glmstore.store.connection import Connection
from glmstore.store.inserting import insert_new, take_out
from glmstore.store.keys import key_words
from glmstore.store.pins import pinned
from glmstore.store.schema import KEY, VECTOR, VECTOR_FILES
from glmstore.store.table import PinnedTable
from glmstore.store.views import ViewRecord

_COMMIT_BYTES = 256 << 20
T = TypeVar("T")
_Tables = list[tuple[int | None, PinnedTable]]


class Features(NamedTuple):
    """Stored features, in the order asked.

    Attributes
    ----------
    values
        Of the view's number type: [N, D]; token-level [N, Tmax, D], zero beyond each row's own tokens.
    lengths
        int32 [N], tokens of each row; None for a pooled view.
    """

    values: np.ndarray
    lengths: np.ndarray | None


class FeatureTables:
    """Reads and writes the tables of one view.

    Parameters
    ----------
    connection
        The store's tables.
    record
        The view, as the catalogue holds it.
    """

    def __init__(self, connection: Connection, record: ViewRecord) -> None:
        self._connection, self._record = connection, record
        self._dim = record.provenance.dim

    def pinned_tables(self) -> _Tables:
        """Return (token count or None, table at its present version) for every table of the view."""
        found = []
        for name, tokens in self._record.tables(self._connection).items():
            table = self._connection.read(name)
            if table is not None:
                found.append((tokens, table))
        return found

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Return the keys that have no vector here, in the order asked, each once."""
        words = key_words(keys)
        absent = self._steadily(lambda tables: _absent(tables, words))
        return list(dict.fromkeys(compress(keys, absent.tolist())))

    def write(self, keys: Sequence[str], vectors: np.ndarray, lengths: np.ndarray | None) -> int:
        """Store the rows whose key is new; return their number. Errors: as of :func:`~.arrays.prepare`."""
        groups = prepare(self._record.view, self._dim, keys, vectors, lengths)
        return sum(self._insert(group) for group in groups)

    def _insert(self, group: Group) -> int:
        if group.tokens is not None:
            group = self._without_stored(group)
        name = self._record.table_name(group.tokens)
        width = group.values.shape[1]
        step = max(1, _COMMIT_BYTES // (width * group.values.itemsize))
        stored = 0
        for start in range(0, len(group.keys), step):
            rows = group.table(start, start + step)
            handle, made = self._connection.create(name, rows, VECTOR_FILES)
            new = len(rows) if made else insert_new(self._connection.uri, handle, KEY, rows)
            metering.rows_written(self._record.view.model, new, width * group.values.itemsize)
            stored += new
        return stored

    def _without_stored(self, group: Group) -> Group:
        """Leave out keys held in any of the view's tables: the primary key only speaks for one of them."""
        new = set(self.missing(group.keys))
        if len(new) == len(group.keys):
            return group
        rows = [i for i, key in enumerate(group.keys) if key in new]
        return Group(group.tokens, [group.keys[i] for i in rows], group.values[rows])

    def read(self, keys: Sequence[str]) -> Features:
        """Return the vectors of `keys` in the order asked, repeats included.

        Raises
        ------
        MissingFeaturesError
            If any is missing; names them.
        """
        words = key_words(keys)
        return self._steadily(lambda tables: self._read(tables, keys, words))

    def _read(self, tables: _Tables, keys: Sequence[str], words: np.ndarray) -> Features:
        offsets = np.full(len(keys), -1, np.int64)
        source = np.full(len(keys), -1, np.int64)
        for number, (_, table) in enumerate(tables):
            here = table.keys.locate(words)
            found = (here >= 0) & (source < 0)
            offsets[found], source[found] = here[found], number
        if (source < 0).any():
            absent = list(dict.fromkeys(compress(keys, (source < 0).tolist())))
            raise MissingFeaturesError(self._record.view.name, absent, len(set(keys)))
        dtype = np.dtype(self._record.view.dtype)
        if not self._record.view.is_token_level:
            out = np.empty((len(keys), self._dim), dtype)
            if tables:
                tables[0][1].gather(offsets, out)
            return Features(out, None)
        return self._read_tokens(tables, offsets, source, dtype)

    def _read_tokens(
        self, tables: _Tables, offsets: np.ndarray, source: np.ndarray, dtype: np.dtype
    ) -> Features:
        counts = np.array([tokens for tokens, _ in tables], np.int32)
        lengths = counts[source] if len(source) else np.empty(0, np.int32)
        width = int(lengths.max(initial=0))
        whole = np.zeros((len(source), width, self._dim), dtype)
        for number in np.unique(source):
            rows = np.flatnonzero(source == number)
            tokens, table = int(counts[number]), tables[number][1]
            if tokens == width and len(rows) == len(source):
                table.gather(offsets, whole.reshape(len(rows), -1))
                break
            part = np.empty((len(rows), tokens * self._dim), dtype)
            table.gather(offsets[rows], part)
            whole[rows, :tokens] = part.reshape(len(rows), tokens, self._dim)
        return Features(whole, lengths)

    def forget(self, keys: Sequence[str]) -> None:
        """Take out the rows of these keys."""
        words = key_words(keys)
        for name in self._record.tables(self._connection):
            table, handle = self._connection.read(name), self._connection.handle(name)
            if table is not None and handle is not None:
                held = compress(keys, (table.keys.locate(words) >= 0).tolist())
                take_out(self._connection.uri, handle, KEY, list(dict.fromkeys(held)))

    def scan(self, batch_size: int) -> Iterator[pa.RecordBatch]:
        """Yield ``seq_key``, ``vector`` over Lance's own memory; see :meth:`FeatureStore.scan`."""
        for name in self._record.tables(self._connection):
            with pinned(self._connection, name) as table:
                if table is not None:
                    yield from table.batches([KEY, VECTOR], batch_size)

    def _steadily(self, job: Callable[[_Tables], T]) -> T:
        """Run a short read, again if what it began on was compacted and cleaned away meanwhile."""
        tables = self.pinned_tables()
        try:
            return job(tables)
        except (OSError, RuntimeError, ValueError):
            now = self.pinned_tables()
            if [table.version for _, table in now] == [table.version for _, table in tables]:
                raise
            return job(now)


def _absent(tables: _Tables, words: np.ndarray) -> np.ndarray:
    absent = np.ones(len(words), bool)
    for _, table in tables:
        absent &= table.keys.locate(words) < 0
    return absent
