"""Places of files: a path on disk, or a URI in object storage."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlparse

from glmstore.errors import StoreError
from glmstore.objects.base import check_name

Place = Path | str
"""A path on disk, or the text ``s3://bucket/…`` of a file or folder in object storage."""


def as_place(where: Path | str) -> Place:
    """Return a directory, ``file://…`` or ``s3://…`` as a place.

    Raises
    ------
    StoreError
        If the URI has another scheme.
    """
    parsed = urlparse(str(where))
    if parsed.scheme == "s3":
        return str(where).rstrip("/")
    if parsed.scheme in {"", "file"}:
        return Path(unquote(parsed.path)) if parsed.scheme else Path(where)
    raise StoreError(f"{where}: files lie in a directory or in s3://…, not in {parsed.scheme}://.")


def below(folder: Place, name: str) -> Place:
    """Return the place called `name` in a folder.

    Raises
    ------
    ValueError
        If the name leads out of the folder.
    """
    check_name(name)
    return folder / name if isinstance(folder, Path) else f"{folder}/{name}"
