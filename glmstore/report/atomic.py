"""Write files that are never seen half."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TypeVar
from uuid import uuid4

from glmstore.errors import StoreNotWritableError
from glmstore.objects import open_objects
from glmstore.objects.places import Place

P = TypeVar("P", bound=Place)


def write_atomically(path: P, content: bytes) -> P:
    """Write a file that is never seen half: on disk to a neighbour first, then renamed over `path`.

    Raises
    ------
    StoreNotWritableError
        If the folder is read-only or full; nothing is left behind.
    StoreError
        If object storage refuses or does not answer.
    """
    if isinstance(path, str):
        folder, _, name = path.rpartition("/")
        open_objects(folder).put(name, content)
        return path
    partial = path.with_name(f".{path.name}.{uuid4().hex[:8]}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise StoreNotWritableError(f"{path}: cannot be written ({error.strerror or error}).") from error
    return path
