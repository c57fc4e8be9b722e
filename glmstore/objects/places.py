"""Places of files: a path on disk, or a URI in object storage."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlparse

from glmstore.errors import StoreError
from glmstore.objects.base import check_name

Place = Path | str
"""A path on disk, or the text ``s3://bucket/…`` of a file or folder in object storage."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_ONE_SLASH = re.compile(r"(s3|file|memory):/?[^/]", re.IGNORECASE)


def as_place(where: Path | str) -> Place:
    """Return a directory, ``file://…`` or ``s3://…`` as a place: an absolute path, or a URI in one spelling.

    Raises
    ------
    StoreError
        If the URI has another scheme, or is none.
    """
    text = str(where)
    uri = _SCHEME.match(text)
    if uri is None:
        if slip := _ONE_SLASH.match(text):
            raise StoreError(f"{text} is neither a folder nor a URI: write {slip[1].lower()}://…, as text.")
        return Path(text).expanduser().absolute()
    scheme = uri[1].lower()
    if scheme == "s3":
        bucket, prefix = split_s3(text)
        return f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"
    if scheme == "file":
        host, _, path = text[uri.end() :].partition("/")
        if host not in {"", "localhost"}:
            raise StoreError(f"{text}: a file on another machine. Write file:///PATH with three slashes.")
        return Path("/", unquote(path))
    raise StoreError(f"files lie in a directory or in s3://…, not in {scheme}://.")


def store_place(where: Path | str) -> Place:
    """Return the place of a store, which has a name of its own: its companions lie beside it.

    Raises
    ------
    StoreError
        If it is a whole bucket or file system, or no place.
    """
    place = as_place(where)
    if isinstance(place, Path) and not place.name:
        raise StoreError(f"{place} is a whole file system, and a store is a folder in one. Choose a folder.")
    if isinstance(place, str) and not split_s3(place)[1]:
        raise StoreError(
            f"{place} is a whole bucket, and a store is a prefix in one; what belongs to it lies beside it. "
            f"Write {place}/NAME."
        )
    return place


def split_s3(uri: str) -> tuple[str, str]:
    """Return bucket and prefix, without slashes at its ends, of ``s3://bucket/prefix``.

    Raises
    ------
    StoreError
        If it holds no bucket, a password, or what LanceDB and boto3 would not read alike.
    """
    parsed = urlparse(uri)
    if "@" in parsed.netloc:
        raise StoreError(
            "a URI of object storage holds no credentials: write s3://BUCKET/PREFIX, and set AWS_PROFILE or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    prefix = parsed.path.strip("/")
    if not parsed.netloc or parsed.query or parsed.fragment or "%" in uri:
        raise StoreError(f"{uri} is no place in object storage: write s3://BUCKET/PREFIX, with no %, ? or #.")
    if prefix:
        try:
            check_name(prefix)
        except ValueError as error:
            raise StoreError(f"{uri} is no place in object storage: {error}.") from error
    return parsed.netloc, prefix


def below(folder: Place, name: str) -> Place:
    """Return the place called `name` in a folder.

    Raises
    ------
    ValueError
        If the name leads out of the folder.
    """
    check_name(name)
    return folder / name if isinstance(folder, Path) else f"{folder}/{name}"
