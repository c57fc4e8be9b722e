"""Write files that are never seen half."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from glmstore.errors import StoreNotWritableError


def write_atomically(path: Path, content: bytes) -> Path:
    """Write a file that is never seen half: to a neighbour first, then renamed over `path`.

    Raises
    ------
    StoreNotWritableError
        If the folder is read-only or full; nothing is left behind.
    """
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
