"""What storage of small objects must be able to do."""

from __future__ import annotations

from typing import Protocol


class Objects(Protocol):
    """Objects under one URI, by name.

    A name is one or more parts with ``/`` between them; see :func:`check_name`. Every object is replaced as
    a whole: a reader sees the old one or the new one.

    Attributes
    ----------
    uri
        Where they lie.
    """

    uri: str

    def get(self, name: str) -> bytes | None:
        """Return an object, None if there is none."""

    def put(self, name: str, data: bytes) -> None:
        """Write an object, replacing what is there."""

    def put_new(self, name: str, data: bytes) -> bool:
        """Write an object unless there is one, and tell whether it was written.

        Of any number of writers at once one wins. `data` must be unlike that of any other writer, so that one
        whose request was answered late can tell that it won.
        """

    def age_s(self, name: str) -> float | None:
        """Return how long ago an object was written, in seconds by the storage's own clock."""

    def names(self, prefix: str = "") -> list[str]:
        """Return the names that begin with `prefix`, sorted."""

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""


def check_name(name: str) -> str:
    """Return `name` if it stays below the URI it is looked up under.

    Raises
    ------
    ValueError
        If a part is empty, ``.`` or ``..``, or holds a backslash or a control character.
    """
    parts = name.split("/")
    if any(part in {"", ".", ".."} or "\\" in part or not part.isprintable() for part in parts):
        raise ValueError(f"{name!r} is no name of an object: it must stay below the folder it lies in")
    return name
