"""Add rows and take some out, whatever happens to the table meanwhile.

A commit reads files of the versions before it; where they are compacted and cleaned away under it, it starts
again on what took their place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa

from glmstore.objects.writing import writing
from glmstore.store.keys import key_words

_ATTEMPTS = 5
_KEYS_A_COMMIT = 50_000
T = TypeVar("T")


def insert_new(uri: str, handle: Any, key: str, rows: pa.Table) -> int:
    """Insert the rows whose key a table does not hold yet; return their number.

    Raises
    ------
    StoreNotWritableError
        If the place cannot be written.
    """
    # What a failed attempt or another writer has inserted is not new to the next attempt.
    merged = _on_what_is_there(
        uri, handle, lambda: handle.merge_insert(key).when_not_matched_insert_all().execute(rows)
    )
    return int(merged.num_inserted_rows)


def take_out(uri: str, handle: Any, key: str, values: Sequence[str]) -> None:
    """Delete the rows whose key is one of `values`, some 50,000 a commit.

    Raises
    ------
    SequenceKeyError
        If a value is no key; nothing is deleted.
    StoreNotWritableError
        If the place cannot be written.
    """
    key_words(values)  # so that each can stand in a condition as it is
    for start in range(0, len(values), _KEYS_A_COMMIT):
        listed = ", ".join(f"'{value}'" for value in values[start : start + _KEYS_A_COMMIT])
        _on_what_is_there(uri, handle, partial(handle.delete, f"{key} IN ({listed})"))


def append_once(uri: str, handle: Any, rows: pa.Table, already: str) -> None:
    """Append rows, all or none; those that satisfy the SQL condition `already` are these and no others.

    Raises
    ------
    StoreNotWritableError
        If the place cannot be written.
    """
    tried = False

    def append() -> None:
        nonlocal tried
        if not (tried and handle.count_rows(already)):
            tried = True
            handle.add(rows)

    _on_what_is_there(uri, handle, append)


def _on_what_is_there(uri: str, handle: Any, job: Callable[[], T]) -> T:
    attempt = 1
    while True:
        try:
            with writing(uri):
                return job()
        except (OSError, RuntimeError) as error:
            if "Not found" not in str(error) or attempt == _ATTEMPTS:
                raise
            attempt += 1
            handle.checkout_latest()
