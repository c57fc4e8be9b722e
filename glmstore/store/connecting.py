"""Connect LanceDB to a place, which in object storage was first seen to be fit for a store."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import lancedb

from glmstore.errors import S3RefusedError, S3UnavailableError, StoreError

_DENIED = re.compile(r"\bstatus: 40[13]\b")


def connect(place: str) -> tuple[Any, dict[str, str] | None]:
    """Return the LanceDB connection to a normalised URI and, in object storage, the options it was made with.

    A table is looked for anew at each read.

    Raises
    ------
    UnsafeStorageError, UnfitStorageError
        If it lies in object storage that loses rows, or that cannot delete in bulk.
    S3UnavailableError
        If the object storage is away or has too much to do; it may pass.
    S3RefusedError
        If the credentials may not even look.
    StoreError
        If anything else is wrong with them, the bucket or the settings.
    """
    if not place.startswith("s3://"):
        return lancedb.connect(place, read_consistency_interval=timedelta(0)), None
    # boto3 takes long to import, and stores on disk do without.
    from glmstore.objects.preflight import check_storage
    from glmstore.objects.s3 import S3Objects, lance_options
    from glmstore.objects.s3_errors import lance_cannot_reach

    check_storage(S3Objects(place))
    options = lance_options()
    try:
        database = lancedb.connect(place, read_consistency_interval=timedelta(0), storage_options=options)
    except (RuntimeError, ValueError) as error:
        # The last part of Lance's message is a place in its own source.
        reason = re.sub(r", (location: .*|[^,\s]+\.rs:[\d:]+)$", "", str(error).splitlines()[0])
        if lance_cannot_reach(error):
            raise S3UnavailableError(f"no store can be opened at {place} now: {reason}.") from error
        if _DENIED.search(reason):
            raise S3RefusedError(
                f"{place}: access refused, even to look. Check the credentials and the policy."
            ) from error
        raise StoreError(f"no store can be opened at {place}: {reason}.") from error
    return database, options
