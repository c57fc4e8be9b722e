"""Connect LanceDB to a place that was first seen to be fit for a store."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb

from glmstore.errors import (
    GlmstoreError,
    S3RefusedError,
    S3UnavailableError,
    StoreError,
    StoreNotFoundError,
    StoreNotWritableError,
)

_DENIED = re.compile(r"\bstatus: 40[13]\b")


def connect(place: str, directory: Path | None, *, create: bool) -> tuple[Any, dict[str, str] | None]:
    """Return the LanceDB connection to a normalised URI and, in object storage, the options it was made with.

    A table is looked for anew at each read.

    Parameters
    ----------
    place
        Normalised URI.
    directory
        What it is on disk; None where it is elsewhere.
    create
        Whether an absent directory is made.

    Raises
    ------
    StoreNotFoundError
        If nothing lies at a directory's place and `create` is false.
    StoreNotWritableError
        If the directory cannot be made, or may not be looked at.
    UnsafeStorageError, UnfitStorageError
        If it lies in object storage that loses rows, or that cannot delete in bulk.
    S3UnavailableError
        If the object storage is away or has too much to do; it may pass.
    S3RefusedError
        If the credentials may not even look.
    StoreError
        If anything else is wrong with them, the bucket or the settings, or a file lies in its place.
    """
    if directory is not None:
        return _on_disk(directory, create=create), None
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


def _on_disk(directory: Path, *, create: bool) -> Any:
    try:
        if directory.exists() and not directory.is_dir():
            raise StoreError(f"{directory} is a file, and a store is a directory. Choose another place.")
        if not create and not directory.is_dir():
            raise StoreNotFoundError(
                f"no store lies at {directory}. Check --store, or create it with `glmstore run`."
            )
        if directory.is_dir():
            # What the system refuses comes out of LanceDB as a long ValueError.
            os.scandir(directory).close()
        return lancedb.connect(str(directory), read_consistency_interval=timedelta(0))
    except GlmstoreError:
        raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StoreNotWritableError(
            f"no store can be opened or made at {directory}: {reason}. Choose another place."
        ) from error
