"""Sequence keys as numbers, and an exact index from key to row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from glmstore.errors import SequenceKeyError, StoreError

KEY_LENGTH = 32
_WORDS = KEY_LENGTH // 8
_BITMAP_BITS = 22
_ONE_QUESTION = 4  # asked once for less than a quarter of its keys, a table is filtered and not sorted
_HEX = b"0123456789abcdef"
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)


def key_words(keys: Sequence[str]) -> np.ndarray:
    """Return uint64 [N, 4]: the 32 characters of every key, eight to a number.

    Raises
    ------
    SequenceKeyError
        If a key is not 32 lower-case hex digits; names the first such key.
    """
    joined = "".join(keys)
    raw = joined.encode("ascii", "replace")
    if len(raw) != KEY_LENGTH * len(keys) or set(map(len, keys)) - {KEY_LENGTH} or raw.translate(None, _HEX):
        _refuse(keys)
    return np.frombuffer(raw, np.uint64).reshape(-1, _WORDS)


def _refuse(keys: Sequence[str]) -> None:
    wrong = next((i, k) for i, k in enumerate(keys) if not re.fullmatch(r"[0-9a-f]{32}", k))
    raise SequenceKeyError(
        wrong[1],
        f"key {wrong[1]!r} (number {wrong[0]}, 0-based) is no sequence key: 32 lower-case hex digits",
        "Make keys with glmstore.sequences.normalise.seq_key",
    )


def column_words(column: pa.ChunkedArray) -> np.ndarray:
    """Return uint64 [N, 4] for a string column that holds only keys.

    Raises
    ------
    StoreError
        If it holds anything else.
    """
    words = np.empty((len(column), _WORDS), np.uint64)
    start = 0
    for chunk in column.chunks:
        _, offsets, data = chunk.buffers()
        if not len(chunk):
            continue
        ends = np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        if ends[-1] - ends[0] != KEY_LENGTH * len(chunk):
            raise StoreError(
                "a key column holds values that are no keys; run `glmstore doctor` on this store"
            )
        flat = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]
        words[start : start + len(chunk)].view(np.uint8).reshape(-1)[:] = flat
        start += len(chunk)
    return words


class KeyIndex:
    """Where each key of a table lies.

    One sorted array of 64-bit numbers holds a hash prefix in its high bits and the row in its low ones; a hit
    counts only when all 32 characters agree, so prefixes that collide cost a step and never an error. It
    takes 40 bytes a row. The sort is left to the second question: whoever asks once needs only the rows that
    a bitmap of the keys asked for lets through.

    Parameters
    ----------
    words
        uint64 [N, 4], as :func:`column_words` gives them.
    """

    def __init__(self, words: np.ndarray) -> None:
        self._words = words
        self._row_mask = np.uint64((1 << max(1, len(words).bit_length())) - 1)
        self._asked_before = False

    def __len__(self) -> int:
        return len(self._words)

    @classmethod
    def from_column(cls, column: pa.ChunkedArray) -> KeyIndex:
        """Index a table's key column."""
        return cls(column_words(column))

    def locate(self, words: np.ndarray) -> np.ndarray:
        """Return int64 [M]: the first row of every key asked for, -1 where there is none.

        Parameters
        ----------
        words
            uint64 [M, 4], as :func:`key_words` gives them.
        """
        if not self._asked_before and len(words) * _ONE_QUESTION < len(self):
            self._asked_before = True
            return self._locate_once(words)
        target = _hash(words) & ~self._row_mask
        order = np.argsort(target)
        position = np.empty(len(words), np.int64)
        position[order] = np.searchsorted(self._packed, target[order])
        found = np.full(len(words), -1, np.int64)
        pending = np.flatnonzero(position < len(self._packed))
        while pending.size:
            candidate = self._packed[position[pending]]
            same = (candidate & ~self._row_mask) == target[pending]
            pending, rows = pending[same], (candidate[same] & self._row_mask).astype(np.int64)
            equal = (self._words[rows] == words[pending]).all(axis=1)
            found[pending[equal]] = rows[equal]
            pending = pending[~equal]
            position[pending] += 1
            pending = pending[position[pending] < len(self._packed)]
        return found

    @cached_property
    def _packed(self) -> np.ndarray:
        packed: np.ndarray = (_hash(self._words) & ~self._row_mask) | np.arange(len(self), dtype=np.uint64)
        packed.sort()
        return packed

    def _locate_once(self, words: np.ndarray) -> np.ndarray:
        wanted = np.zeros(1 << _BITMAP_BITS, np.bool_)
        shift = np.uint64(64 - _BITMAP_BITS)
        wanted[_hash(words) >> shift] = True
        rows = np.flatnonzero(wanted[_hash(self._words) >> shift])
        candidates = KeyIndex(self._words[rows])
        candidates._asked_before = True
        found = candidates.locate(words)
        held = found >= 0
        found[held] = rows[found[held]]
        return found

    def n_duplicates(self) -> int:
        """Return how many rows repeat a key of an earlier row."""
        return len(self) - len(np.unique(self._words, axis=0))

    def absent_from(self, other: KeyIndex) -> int:
        """Return how many of these rows have a key that `other` does not hold."""
        return int((other.locate(self._words) < 0).sum())

    def key(self, row: int) -> str:
        """Return the key at a row."""
        raw: Any = self._words[row]
        return str(raw.tobytes().decode("ascii"))


def _hash(words: np.ndarray) -> np.ndarray:
    """Mix the four words of each key; keys are digests already, so a weighted sum spreads them evenly."""
    mixed: np.ndarray = words[:, 0] * _MIX[0]
    for i in range(1, _WORDS):
        mixed += words[:, i] * _MIX[i]
    return mixed
