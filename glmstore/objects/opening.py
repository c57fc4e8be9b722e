"""From a URI to the objects that lie there."""

from __future__ import annotations

from pathlib import Path

from glmstore.objects.base import Objects
from glmstore.objects.local import LocalObjects
from glmstore.objects.places import as_place


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
        If the URI has another scheme, or is none.
    """
    place = as_place(uri)
    if isinstance(place, Path):
        return LocalObjects(place)
    from glmstore.objects.s3 import S3Objects

    return S3Objects(place, answer_s=answer_s)
