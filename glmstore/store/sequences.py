"""The entity of the store: sequences, keyed by what they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from glmstore.errors import SequenceKeyError
from glmstore.sequences.normalise import require_normalised, seq_keys
from glmstore.store.connection import Connection
from glmstore.store.inserting import insert_new
from glmstore.store.keys import key_words
from glmstore.store.schema import KEY, SCHEMAS, SEQUENCES

_ROWS_PER_COMMIT = 200_000


class SequenceTable:
    """The `sequences` table: each sequence once, whatever number of benchmarks hold it.

    Parameters
    ----------
    connection
        The store's tables.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, sequences: Sequence[str]) -> list[str]:
        """Store the sequences that are new and return the key of every one, in order.

        Raises
        ------
        EmptySequenceError, AlphabetError
            If one is not normalised; nothing is stored.
        """
        require_normalised(sequences)
        keys = seq_keys(sequences)
        content = dict(zip(keys, sequences, strict=True))
        table = self._connection.read(SEQUENCES)
        if table is not None and content:
            stored = table.keys.locate(key_words(list(content))) >= 0
            content = {k: s for (k, s), old in zip(content.items(), stored, strict=True) if not old}
        if content:
            self._insert(content)
        return keys

    def _insert(self, content: dict[str, str]) -> None:
        table = self._connection.write(SEQUENCES, SCHEMAS[SEQUENCES])
        keys, sequences = list(content), list(content.values())
        for start in range(0, len(keys), _ROWS_PER_COMMIT):
            part = slice(start, start + _ROWS_PER_COMMIT)
            lengths = pa.array(list(map(len, sequences[part])), pa.int32())
            rows = pa.table([keys[part], sequences[part], lengths], schema=SCHEMAS[SEQUENCES])
            insert_new(self._connection.uri, table, KEY, rows)

    def require(self, keys: Sequence[str]) -> None:
        """Refuse keys that stand for no stored sequence.

        Raises
        ------
        SequenceKeyError
            If a key is malformed or unknown; names the first.
        """
        missing = np.flatnonzero(self._locate(keys) < 0)
        if missing.size:
            key = keys[int(missing[0])]
            others = f", nor do {missing.size - 1} others" if missing.size > 1 else ""
            raise SequenceKeyError(
                key, f"key {key} names no sequence of this store{others}", "Call add_sequences first"
            )

    def holds(self, keys: Sequence[str]) -> bool:
        """Tell whether each of these keys names a stored sequence; SequenceKeyError for a malformed one."""
        return bool((self._locate(keys) >= 0).all())

    def _locate(self, keys: Sequence[str]) -> np.ndarray:
        words = key_words(keys)
        table = self._connection.read(SEQUENCES)
        return np.full(len(keys), -1) if table is None else table.keys.locate(words)

    def frame(self, keys: Sequence[str] | None = None) -> pl.DataFrame:
        """Return ``seq_key``, ``sequence``, ``length`` [nt], in the order asked with repeats, or all rows.

        Raises
        ------
        SequenceKeyError
            If a key is malformed or unknown.
        """
        columns = [KEY, "sequence", "length"]
        table = self._connection.read(SEQUENCES)
        if table is None:
            if keys:
                self.require(keys)
            return pl.DataFrame(schema={KEY: pl.String, "sequence": pl.String, "length": pl.Int32})
        if keys is None:
            return table.frame(columns)
        self.require(keys)
        unique, inverse = np.unique(table.keys.locate(key_words(keys)), return_inverse=True)
        if len(unique) > table.rows // 8:
            return table.frame(columns)[unique[inverse]]
        return pl.DataFrame(pl.from_arrow(table.take(unique, columns)))[inverse]
