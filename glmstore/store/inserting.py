"""Insert what is new, whatever happens to the table meanwhile."""

from __future__ import annotations

from itertools import count
from typing import Any

import pyarrow as pa

from glmstore.store.connection import writing

_ATTEMPTS = 5


def insert_new(uri: str, handle: Any, key: str, rows: pa.Table) -> int:
    """Insert the rows whose key a table does not hold yet; return their number.

    A merge reads the table's files; where they are compacted and cleaned away under it, it starts again on
    what took their place. Nothing was committed by then; what another writer inserts meanwhile is not new.

    Raises
    ------
    StoreNotWritableError
        If the place cannot be written.
    """
    for attempt in count(1):
        try:
            with writing(uri):
                merged = handle.merge_insert(key).when_not_matched_insert_all().execute(rows)
            break
        except (OSError, RuntimeError) as error:
            if "Not found" not in str(error) or attempt == _ATTEMPTS:
                raise
            handle.checkout_latest()
    return int(merged.num_inserted_rows)
