"""Name what is said by systems that cannot or may not be written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from glmstore.errors import StoreNotWritableError

_NOT_WRITABLE = {1: "not permitted", 13: "permission denied", 27: "the file-size limit is reached"} | {
    28: "no space is left",
    30: "the file system is read-only",
    122: "the disk quota is used up",
}
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_DENIED = re.compile(r"status(?: code)?: 403\b|the operation lacked the necessary privileges", re.IGNORECASE)


def _said(error: BaseException) -> str:
    """Return the code and words of S3's answer, or what is said of them."""
    told = str(error)
    parts = [m[1] for tag in ("Code", "Message") if (m := re.search(rf"<{tag}>([^<]*)</{tag}>", told))]
    return ": ".join(parts) or told.splitlines()[0][-200:]


@contextmanager
def writing(uri: str) -> Iterator[None]:
    """Turn refusals of the operating system and of object storage into :class:`StoreNotWritableError`.

    A Lance commit is one manifest put in place at the end, and an object is one file, so a write that fails
    here left nothing that a reader could see.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        if uri.startswith("s3://") and _DENIED.search(str(error)):
            raise StoreNotWritableError(
                f"the store at {uri} cannot be written: access refused. Nothing partial was stored. Check "
                f"the credentials, the policy and this machine's clock; S3 said: {_said(error)}"
            ) from error
        match = _OS_ERROR.search(str(error))
        code = int(match.group(1)) if match else getattr(error, "errno", None)
        if isinstance(error, StoreNotWritableError) or code not in _NOT_WRITABLE:
            raise
        raise StoreNotWritableError(
            f"the store at {uri} cannot be written: {_NOT_WRITABLE[code]} (os error {code}). Nothing partial "
            f"was stored and it can still be read. Free space, raise the limit or choose another place, and "
            f"run it again."
        ) from error
