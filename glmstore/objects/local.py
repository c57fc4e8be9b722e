"""Small objects as files in a directory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from glmstore.objects.base import check_name
from glmstore.objects.writing import writing

_PARTIAL = ".partial-"


class LocalObjects:
    """Implements :class:`~glmstore.objects.Objects` in a directory, made when something is written.

    Parameters
    ----------
    root
        The directory; several processes, and machines that share it, may use it at once.

    Raises
    ------
    StoreNotWritableError
        By every method that writes, and by `age_s`, if the disk is full or read-only.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = str(root)

    def get(self, name: str) -> bytes | None:
        """See :meth:`Objects.get`."""
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return self._path(name).read_bytes()
        return None

    def put(self, name: str, data: bytes) -> None:
        """See :meth:`Objects.put`."""
        path = self._path(name)
        with self._written(path, data) as partial:
            os.replace(partial, path)

    def put_new(self, name: str, data: bytes) -> bool:
        """See :meth:`Objects.put_new`."""
        path = self._path(name)
        with self._written(path, data) as partial:
            try:
                os.link(partial, path)  # unlike a rename, refused where the name is taken
            except FileExistsError:
                return False
        return True

    def age_s(self, name: str) -> float | None:
        """See :meth:`Objects.age_s`."""
        path = self._path(name)
        try:
            written = path.stat().st_mtime
            with writing(self.uri), tempfile.NamedTemporaryFile(dir=path.parent, prefix=_PARTIAL) as now:
                return max(0.0, os.fstat(now.fileno()).st_mtime - written)
        except FileNotFoundError:
            return None

    def names(self, prefix: str = "") -> list[str]:
        """See :meth:`Objects.names`."""
        parent = prefix.rpartition("/")[0]
        folder = self._path(parent) if parent else self.root
        files = (Path(at, file) for at, _, found in os.walk(folder) for file in found)
        names = (
            path.relative_to(self.root).as_posix() for path in files if not path.name.startswith(_PARTIAL)
        )
        return sorted(name for name in names if name.startswith(prefix))

    def delete(self, name: str) -> None:
        """See :meth:`Objects.delete`."""
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.root / check_name(name)

    @contextmanager
    def _written(self, path: Path, data: bytes) -> Iterator[str]:
        with writing(self.uri):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(dir=path.parent, prefix=_PARTIAL)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                yield partial
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(partial)
