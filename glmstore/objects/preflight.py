"""Ask object storage whether it can hold a store: one winner for each object, many deleted at once."""

from __future__ import annotations

import logging
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Lock

from glmstore.errors import (
    S3RefusedError,
    S3UnavailableError,
    StoreError,
    UnfitStorageError,
    UnsafeStorageError,
)
from glmstore.objects.s3 import S3Objects, s3_client

_WRITERS = 8
_passed: set[tuple[str, str]] = set()
_one_at_a_time = Lock()

log = logging.getLogger(__name__)


def check_storage(objects: S3Objects) -> None:
    """Refuse storage that ignores ``If-None-Match`` or deletes no several objects in one request.

    A Lance commit is a conditional PUT. Where two writers both win, the later removes what the earlier wrote
    after having told it that all is well. Lance deletes in bulk, and fails in the middle where it cannot.

    Asked once for each bucket and process: 10 PUT, 9 GET and 1 POST of a few bytes. Credentials that may not
    write here skip it, as they lose nothing; they are asked again each time, with 1 PUT, since others or
    another prefix may write.

    Raises
    ------
    UnsafeStorageError
        If not exactly one writer of an object wins; names the endpoint.
    UnfitStorageError
        If objects cannot be deleted in bulk; names the endpoint.
    StoreError
        If nothing answers, there is no such bucket, or the credentials are wrong.
    """
    place = (str(s3_client().meta.endpoint_url), objects.bucket)
    with _one_at_a_time:
        if place in _passed:
            return
        folder = f"_preflight/{uuid.uuid4().hex}"
        probes = [f"{folder}/one-after-another", f"{folder}/at-once"]
        try:
            won = objects.put_new(probes[0], b"an early writer")
        except S3RefusedError as refused:
            log.info("%s can be read and not written: %s", objects.uri, refused)
            return
        try:
            _race(objects, probes, place[0], won)
            _delete(objects, probes, place[0])
        except StoreError:
            with suppress(StoreError):  # a few bytes that stay behind harm nobody
                for name in probes:
                    objects.delete(name)
            raise
        _passed.add(place)


def _race(objects: S3Objects, probes: list[str], endpoint: str, early: bool) -> None:
    late = objects.put_new(probes[0], b"a late writer")
    with ThreadPoolExecutor(_WRITERS) as pool:
        won = sum(pool.map(lambda i: objects.put_new(probes[1], b"writer %d" % i), range(_WRITERS)))
    if not early or late or won != 1:
        raise UnsafeStorageError(
            f"the storage at {endpoint} let {early + late} of 2 writers win that wrote one object one after "
            f"another, and {won} of {_WRITERS} that did at once, where only one may: a store there would "
            f"lose rows and say nothing. Use a service that honours If-None-Match on PUT (AWS S3, MinIO, "
            f"Ceph, R2), or a directory."
        )


def _delete(objects: S3Objects, probes: list[str], endpoint: str) -> None:
    reason = "it says that it did, and they are still there"
    try:
        objects.delete_together(probes)
        if objects.get(probes[1]) is None:
            return
    except (S3RefusedError, S3UnavailableError):
        raise
    except StoreError as error:
        reason = str(error)
    raise UnfitStorageError(
        f"the storage at {endpoint} cannot delete several objects in one request (DeleteObjects), as a store "
        f"does when it tidies up: {reason.rstrip('.')}. Use a service that can (AWS S3, MinIO, Ceph, R2), or "
        f"a directory."
    )
