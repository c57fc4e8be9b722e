"""Ask object storage whether it can hold a store: of writers of one new object, exactly one may win."""

from __future__ import annotations

import logging
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Lock

from glmstore.errors import StoreError, UnsafeStorageError
from glmstore.objects.s3 import S3Objects, S3RefusedError, s3_client

_WRITERS = 8
_passed: set[tuple[str, str]] = set()
_one_at_a_time = Lock()

log = logging.getLogger(__name__)


def check_conditional_puts(objects: S3Objects) -> None:
    """Refuse storage that ignores ``If-None-Match``; asked once for each bucket and process.

    A Lance commit is such a request. Where two writers both win, the later removes what the earlier wrote
    after having told it that all is well. Credentials that may only read skip this: they lose nothing.

    Raises
    ------
    UnsafeStorageError
        Naming the endpoint.
    StoreError
        If nothing answers, or there is no such bucket.
    """
    place = (str(s3_client().meta.endpoint_url), objects.bucket)
    with _one_at_a_time:
        if place in _passed:
            return
        try:
            _race(objects, place[0])
        except S3RefusedError as refused:
            log.info("%s can be read and not written: %s", objects.uri, refused)
        _passed.add(place)


def _race(objects: S3Objects, endpoint: str) -> None:
    name = f"_preflight/{uuid.uuid4().hex}"
    try:
        with ThreadPoolExecutor(_WRITERS) as pool:
            won = list(pool.map(lambda i: objects.put_new(name, b"writer %d" % i), range(_WRITERS)))
        late = objects.put_new(name, b"a late one")
    finally:
        with suppress(StoreError):  # a few bytes that stay behind harm nobody
            objects.delete(name)
    if sum(won) != 1 or late:
        raise UnsafeStorageError(
            f"the storage at {endpoint} let {sum(won) + late} of {_WRITERS + 1} writers of one object win, "
            f"where only the first may: a store there would lose rows and say nothing. Use a service that "
            f"honours If-None-Match on PUT (AWS S3, MinIO, Ceph, R2), or a directory."
        )
