"""From a URI to the objects that lie there."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlparse

from glmstore.errors import StoreError
from glmstore.objects.base import Objects
from glmstore.objects.local import LocalObjects


def open_objects(uri: str | Path, *, answer_s: float | None = None) -> Objects:
    """Return the objects at a directory, ``file://…`` or ``s3://bucket/prefix``.

    Nothing is asked of the storage yet.

    Parameters
    ----------
    uri
        The place.
    answer_s
        How long to wait for an answer of object storage, which is then asked twice at the most, for who has
        no time to lose; None: a minute, and six times.

    Raises
    ------
    StoreError
        If the URI has another scheme.
    """
    parsed = urlparse(str(uri))
    if parsed.scheme == "s3":
        from glmstore.objects.s3 import S3Objects

        return S3Objects(str(uri), answer_s=answer_s)
    if parsed.scheme in {"", "file"}:
        path = Path(unquote(parsed.path) if parsed.scheme else str(uri))
        return LocalObjects(path.expanduser().absolute())
    raise StoreError(f"{uri}: files lie in a directory or in s3://…, not in {parsed.scheme}://.")
