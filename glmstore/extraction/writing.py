"""Commits features from a thread of their own, so that the store writes while the model computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Condition, Thread
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from glmstore.errors import HostMemoryError

COMMIT_ROWS, COMMIT_BYTES = 8_192, 64 * 2**20
"""A commit to the store is as large as either of these; many small ones make every later scan slow.

Token matrices count as they are written, padded to the longest of the commit: one long sequence among short
ones would else make a commit many times their size.
"""
BUFFER_BYTES = 512 * 2**20
"""Most that waits to be written, over all views and with the commit that is being written."""


class Rows(NamedTuple):
    """Features that are ready to be written.

    Attributes
    ----------
    keys
        Sequence keys [n].
    values
        [n, D], or [n, T, D] zero-padded on the right.
    lengths
        int32 [n], token counts; None for pooled views.
    """

    keys: list[str]
    values: np.ndarray
    lengths: np.ndarray | None


class CommitWriter:
    """Gathers rows by view until they make a commit worth its file, and writes them in the background.

    Used as a context manager. Leaving it without an error writes what is left and waits; leaving it with one
    drops rows that make no whole commit yet, writes the commits that do, and waits.

    Parameters
    ----------
    commit
        ``commit(view number, rows)`` makes rows visible, all or none; called from one thread, in the order
        in which commits became full.

    Attributes
    ----------
    held
        Bytes that were added and are not committed yet: never more than ``BUFFER_BYTES`` when :meth:`add`
        returns. Writing a commit takes a copy of it beside that, padded to not more than ``COMMIT_BYTES``
        unless one call of :meth:`add` brought more.
    peak
        The largest `held` there was, with the rows just added.
    """

    def __init__(self, commit: Callable[[int, Rows], None]) -> None:
        self._commit = commit
        self._groups: dict[int, list[Rows]] = {}
        self._queue: deque[tuple[int, list[Rows]]] = deque()
        self._state = Condition()
        self._writing = self._closed = False
        self._error: BaseException | None = None
        self._thread = Thread(target=self._work, name="glmstore-writer", daemon=True)
        self.held = self.peak = 0

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what there is to write and stop the thread; raises what a commit raised."""
        with self._state:
            if error is None:
                for view in list(self._groups):
                    self._send(view)
            self._closed = True
            self._state.notify_all()
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def add(self, view: int, rows: Rows) -> None:
        """Take rows of a view; waits where the writer lags behind by more than the buffer holds.

        Raises
        ------
        Exception
            What an earlier commit raised; nothing is written after it.
        """
        with self._state:
            self._check()
            if _outgrown([*self._groups.get(view, []), rows]):
                self._send(view)
            group = self._groups.setdefault(view, [])
            group.append(rows)
            self.held += rows.values.nbytes
            self.peak = max(self.peak, self.held)
            if sum(len(r.keys) for r in group) >= COMMIT_ROWS or _size(group) >= COMMIT_BYTES:
                self._send(view)
            while self.held > BUFFER_BYTES:
                if not self._queue and not self._writing:
                    self._send(max(self._groups, key=lambda v: _size(self._groups[v])))
                self._state.wait()
                self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _send(self, view: int) -> None:
        self._queue.append((view, self._groups.pop(view)))
        self._state.notify_all()

    def _work(self) -> None:
        while True:
            with self._state:
                self._state.wait_for(lambda: self._queue or self._closed)
                if not self._queue:
                    return
                view, group = self._queue.popleft()
                self._writing = True
            size = _size(group)
            error: BaseException | None = None
            try:
                self._commit(view, _join(group))
            except MemoryError as raised:
                error = _no_memory(group, raised)
            except BaseException as raised:  # noqa: BLE001  (raised again where the work was given)
                error = raised
            del group
            with self._state:
                self._writing, self._error = False, error
                self.held -= size
                if error is not None:
                    self._queue.clear()
                    self._groups.clear()
                self._state.notify_all()
            if error is not None:
                return


def _size(group: list[Rows]) -> int:
    return sum(rows.values.nbytes for rows in group)


def _padded_size(group: list[Rows]) -> int:
    """Return the bytes of a group once it is joined: every row as wide as the widest."""
    return sum(len(rows.keys) for rows in group) * max(
        rows.values[:1].nbytes if len(rows.values) else 0 for rows in group
    )


def _outgrown(group: list[Rows]) -> bool:
    """Tell whether padding would make a commit larger than it may be; rows of one width do not pad."""
    padded = _padded_size(group)
    return len(group) > 1 and padded > COMMIT_BYTES and padded > _size(group)


def _no_memory(group: list[Rows], error: MemoryError) -> HostMemoryError:
    found = HostMemoryError(
        f"the memory of this machine does not suffice to write {sum(len(r.keys) for r in group)} rows of "
        f"{_padded_size(group) / 2**20:.0f} MiB ({str(error) or 'out of memory'}). What was committed is "
        "kept; run the same command again with more memory, fewer layers at once, or shorter sequences."
    )
    found.__cause__ = error
    return found


def _join(group: list[Rows]) -> Rows:
    """Stack rows; token matrices are zero-padded to the longest."""
    keys = [key for rows in group for key in rows.keys]
    lengths = [rows.lengths for rows in group if rows.lengths is not None]
    if not lengths:
        return Rows(keys, np.concatenate([rows.values for rows in group]), None)
    width = max(rows.values.shape[1] for rows in group)
    whole = np.zeros((len(keys), width, group[0].values.shape[2]), group[0].values.dtype)
    start = 0
    for rows in group:
        whole[start : start + len(rows.keys), : rows.values.shape[1]] = rows.values
        start += len(rows.keys)
    return Rows(keys, whole, np.concatenate(lengths))
