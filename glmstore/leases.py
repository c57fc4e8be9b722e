"""Leases: one process at a time does a named piece of work, and a killed one holds up the others for seconds.

A lease lies in the store's own storage and needs nothing of it but that a new object is won by one writer.
Each holder writes an object of its own, numbered one above the last; the highest number is the holder's. The
last one is never removed while it may matter, so a number is never won twice. Whether a holder is still alive
is judged by the age of its object on the storage's clock, so clocks of machines may differ as they like.
"""

from __future__ import annotations

import json
import logging
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

from glmstore import metering
from glmstore.errors import StoreError
from glmstore.objects import Objects, open_objects

SECONDS = 60.0
_FOLDER = "_leases"
_ASKED = 12
"""The share of a lease's seconds that a request to the storage is given to connect, and again to answer."""
_SWEPT_AFTER_S = 86_400.0

log = logging.getLogger(__name__)


class Held:
    """A lease that this process holds.

    Attributes
    ----------
    name
        What it is on.
    number
        How many held it before, since leases were last swept.
    """

    def __init__(self, objects: Objects, name: str, number: int, seconds: float) -> None:
        self.name, self.number = name, number
        self._objects, self._seconds = objects, seconds
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"
        self._lost, self._done = threading.Event(), threading.Event()
        self._beaten = time.monotonic()

    @property
    def lost(self) -> bool:
        """Whether it went to another process, or may have: it could not be renewed in time."""
        return self._lost.is_set() or time.monotonic() - self._beaten > self._seconds

    def body(self, *, released: bool = False) -> bytes:
        """Return what the holder's object says: who holds it, how long after a beat, and whether still."""
        said = {"lease": self.name, "holder": self._holder, "seconds": self._seconds, "released": released}
        return json.dumps(said).encode()

    def stop(self) -> None:
        """Renew it no more."""
        self._done.set()

    def keep(self) -> None:
        """Renew it until it is stopped or lost; runs in a thread of its own."""
        while not self._done.wait(self._seconds / 4):
            try:
                if _top(self._objects, self.name) != self.number:
                    self._lost.set()
                    log.warning("lease %s was taken over: it was not renewed in time", self.name)
                    return
                at = time.monotonic()
                self._objects.put(_path(self.name, self.number), self.body())
                self._beaten = at
            except (StoreError, OSError) as error:
                log.warning("lease %s could not be renewed, trying again: %s", self.name, error)

    def release(self) -> None:
        """Let the next one have it at once; where the storage does not answer, it expires by itself."""
        try:
            if not self._lost.is_set() and _top(self._objects, self.name) == self.number:
                self._objects.put(_path(self.name, self.number), self.body(released=True))
        except (StoreError, OSError) as error:
            log.warning(
                "lease %s was not released and expires in %.0f s: %s", self.name, self._seconds, error
            )


@contextmanager
def try_lease(uri: str, name: str, seconds: float = SECONDS) -> Iterator[Held | None]:
    """Hold a lease for the length of a block, or give None where another process holds it.

    Parameters
    ----------
    uri
        Of the store: a directory or ``s3://…``.
    name
        What is held; any text.
    seconds
        How long after its last sign of life a holder keeps it, 5 at least in object storage, whose clock
        counts whole seconds. It is renewed four times in that time.

    Raises
    ------
    StoreError
        If the storage refuses or does not answer.
    """
    held = _acquire(open_objects(uri, answer_s=seconds / _ASKED), name, seconds)
    if held is None:
        yield None
        return
    keeper = threading.Thread(target=held.keep, name=f"lease {name}", daemon=True)
    keeper.start()
    try:
        yield held
    finally:
        held.stop()
        keeper.join()  # for one renewal at most, whose requests have little time
        held.release()


@contextmanager
def lease(uri: str, name: str, seconds: float = SECONDS) -> Iterator[Held]:
    """Hold a lease for the length of a block, waiting while another process holds it.

    Parameters
    ----------
    uri, name, seconds
        As of :func:`try_lease`. A holder that was killed is waited for as long as `seconds` of its own, one
        that lives for ever.

    Raises
    ------
    StoreError
        If the storage refuses or does not answer.
    """
    begun, waited = time.monotonic(), False
    while True:
        with try_lease(uri, name, seconds) as held:
            if held is not None:
                if waited:
                    metering.lease_waited(time.monotonic() - begun)
                yield held
                return
        waited = True
        time.sleep(min(1.0, seconds / 10) * random.uniform(0.5, 1.5))


def sweep(uri: str) -> int:
    """Remove what leases left behind that nobody has touched for a day; return how many objects."""
    objects = open_objects(uri)
    old = [n for n in objects.names(f"{_FOLDER}/") if (objects.age_s(n) or 0) > _SWEPT_AFTER_S]
    for name in old:
        objects.delete(name)
    return len(old)


def _acquire(objects: Objects, name: str, seconds: float) -> Held | None:
    numbers = _numbers(objects, name)
    if numbers and _alive(objects, name, numbers[-1]):
        return None
    number = numbers[-1] + 1 if numbers else 0
    held = Held(objects, name, number, seconds)
    if not objects.put_new(_path(name, number), held.body()):
        return None
    if _top(objects, name) != number:  # its number had been won, used and removed since it was looked up
        objects.delete(_path(name, number))
        return None
    for older in numbers:
        objects.delete(_path(name, older))
    return held


def _alive(objects: Objects, name: str, number: int) -> bool:
    path = _path(name, number)
    body, age = objects.get(path), objects.age_s(path)
    if body is None or age is None:
        return True  # removed by a later holder: there is one
    released, seconds = _read(body)
    return not released and age <= seconds


def _read(body: bytes) -> tuple[bool, float]:
    """Return whether a lease was released, and its seconds; one that cannot be read expires as others do."""
    try:
        said = json.loads(body)
        return bool(said["released"]), float(said["seconds"])
    except (ValueError, KeyError, TypeError) as damage:
        log.warning("a lease cannot be read (%s); it is taken to last %.0f s", damage, SECONDS)
        return False, SECONDS


def _numbers(objects: Objects, name: str) -> list[int]:
    return sorted(int(found.rpartition("/")[2]) for found in objects.names(f"{_folder(name)}/"))


def _top(objects: Objects, name: str) -> int | None:
    return max(_numbers(objects, name), default=None)


def _folder(name: str) -> str:
    return f"{_FOLDER}/{blake2b(name.encode(), digest_size=16).hexdigest()}"


def _path(name: str, number: int) -> str:
    return f"{_folder(name)}/{number:012d}"
