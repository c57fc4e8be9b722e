"""A table fixed at one version: its rows, in order, as numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
import polars as pl
import pyarrow as pa

from glmstore.store.keys import KeyIndex
from glmstore.store.schema import KEY, VECTOR

_KEY_BATCH = 1 << 20
_BATCH_BYTES = 16 << 20
_READAHEAD = {"batch_readahead": 2, "io_buffer_size": 64 << 20}
_TAKE_SECONDS_PER_ROW = 1e-5
_SCAN_BYTES_PER_SECOND = 2e9


class PinnedTable:
    """Reads one table at one version; offsets are 0-based row numbers at that version.

    Reads go through pylance, which scans keys and token-level rows several times as fast as the table API; a
    table in memory is not visible to pylance, and goes through the table API.

    Parameters
    ----------
    handle
        LanceDB table, checked out at `version`.
    dataset
        The same as a Lance dataset; None for a table in memory.
    version
        The version.
    """

    def __init__(self, handle: Any, dataset: Any | None, version: int) -> None:
        self._handle, self._dataset, self.version = handle, dataset, version

    @classmethod
    def of(cls, database: Any, handle: Any, *, durable: bool) -> PinnedTable:
        """Fix `handle` at its present version."""
        if durable:
            dataset = handle.to_lance()
            return cls(handle, dataset, int(dataset.version))
        version = int(handle.version)
        return cls(database.open_table(handle.name, version=version), None, version)

    @cached_property
    def rows(self) -> int:
        """Number of rows."""
        return int((self._dataset or self._handle).count_rows())

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns."""
        return (self._dataset or self._handle).schema

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one vector."""
        vector = self.schema.field(VECTOR).type
        return int(vector.list_size * vector.value_type.bit_width // 8)

    @cached_property
    def keys(self) -> KeyIndex:
        """Where each key lies; read once per version."""
        return KeyIndex.from_column(self._column(KEY))

    @property
    def indexed_rows(self) -> int:
        """Rows of the key index, 0 while there is none."""
        return len(self.keys) if "keys" in self.__dict__ else 0

    def forget_keys(self) -> None:
        """Free the key index; it is built again when asked for."""
        self.__dict__.pop("keys", None)

    def _column(self, name: str) -> pa.ChunkedArray:
        if self._dataset is not None:
            return self._dataset.scanner(columns=[name], batch_size=_KEY_BATCH).to_table().column(name)
        return self._handle.search().select([name]).to_arrow().column(name)

    def frame(self, columns: Sequence[str] | None = None, where: str | None = None) -> pl.DataFrame:
        """Return rows as a polars frame, in order.

        Parameters
        ----------
        columns
            Names, all by default.
        where
            SQL condition; built by the store from its own identifiers only.
        """
        chosen = list(columns) if columns is not None else self.schema.names
        if self._dataset is not None:
            table = self._dataset.scanner(columns=chosen, filter=where).to_table()
        else:
            query = self._handle.search().select(chosen)
            table = (query.where(where) if where else query).to_arrow()
        return cast("pl.DataFrame", pl.from_arrow(table.select(chosen)))

    def take(self, offsets: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """Return rows by offset.

        Parameters
        ----------
        offsets
            int64, strictly ascending: Lance sorts them and drops repeats, so nothing else would be safe.
        columns
            Names of the columns.
        """
        if self._dataset is not None:
            return self._dataset.take(offsets.tolist(), columns=list(columns))
        return self._handle.take_offsets(offsets.tolist()).select(list(columns)).to_arrow()

    def batches(self, columns: Sequence[str], batch_size: int) -> Iterator[pa.RecordBatch]:
        """Yield all rows in order, uncopied, at most `batch_size` rows or 16 MiB of vectors at a time."""
        rows = batch_size
        if VECTOR in columns:
            rows = max(1, min(batch_size, _BATCH_BYTES // self.row_bytes))
        if self._dataset is not None:
            yield from self._dataset.scanner(
                columns=list(columns), batch_size=rows, **_READAHEAD
            ).to_batches()
        else:
            yield from self._handle.search().select(list(columns)).to_batches(rows)

    def gather(self, offsets: np.ndarray, out: np.ndarray) -> None:
        """Fill ``out[i]`` with the vector at ``offsets[i]``, in any order and with repeats.

        Parameters
        ----------
        offsets
            int64 [N].
        out
            [N, W] of the table's number type; written in place.
        """
        order = np.argsort(offsets, kind="stable")
        ascending = offsets[order]
        if len(offsets) == 0:
            return
        pieces = self._scanned(ascending) if self._scan_is_faster(len(offsets)) else self._taken(ascending)
        for low, high, values in pieces:
            out[order[low:high]] = values

    def _scan_is_faster(self, n: int) -> bool:
        per_row = self.row_bytes / _SCAN_BYTES_PER_SECOND
        return self.rows * per_row < n * (_TAKE_SECONDS_PER_ROW + per_row)

    def _scanned(self, ascending: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
        start = 0
        for batch in self.batches([VECTOR], 1 << 16):
            low, high = np.searchsorted(ascending, [start, start + batch.num_rows])
            if high > low:
                yield int(low), int(high), vectors_of(batch.column(VECTOR))[ascending[low:high] - start]
            start += batch.num_rows

    def _taken(self, ascending: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
        step = max(1, 4 * _BATCH_BYTES // self.row_bytes)
        for low in range(0, len(ascending), step):
            part = ascending[low : low + step]
            unique, inverse = np.unique(part, return_inverse=True)
            column = self.take(unique, [VECTOR]).column(VECTOR)
            values = np.concatenate([vectors_of(chunk) for chunk in column.chunks])
            yield low, low + len(part), values if len(unique) == len(part) else values[inverse]


def vectors_of(column: pa.FixedSizeListArray) -> np.ndarray:
    """Return [N, W] over the memory of a vector column, without a copy."""
    flat: np.ndarray = column.flatten().to_numpy(zero_copy_only=True)
    return flat.reshape(len(column), column.type.list_size)
