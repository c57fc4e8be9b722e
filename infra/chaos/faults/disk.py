"""A disk that fills up: a small file system where one can be mounted, else a limit on the size of a file."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.chaos.census import census
from infra.chaos.outcome import Outcome, Place

_SMALL, _LARGE = 3 << 20, 256 << 20
_FILE_BYTES = 150_000
_CHUNKS = range(16)


def run(place: Place) -> Iterator[Outcome]:
    """Write until the system refuses, look, make room, write the rest."""
    outcome = Outcome("disk full")
    folder = place.folder / "disk"
    folder.mkdir()
    with _small_disk(folder) as mounted:
        uri = str(folder / "store")
        with place.nest("full", uri, file_bytes=None if mounted else _FILE_BYTES) as nest:
            code = nest.reap(nest.write(_CHUNKS))
            failures, known = nest.failures(), nest.acknowledged()
        outcome.trials = int(code == 1 and any("StoreNotWritableError" in said for said in failures))
        outcome.require(code == 1, f"nothing was refused: the writer ended with {code}")
        outcome.require(
            all(said.startswith("named StoreNotWritableError") for said in failures), f"it said: {failures}"
        )
        outcome.found = census(uri, _CHUNKS, known)
        if mounted:
            subprocess.run(["mount", "-o", f"remount,size={_LARGE}", str(folder)], check=True)  # noqa: S607 - wherever the system keeps it
        with place.nest("room", uri) as nest:
            code = nest.reap(nest.write(_CHUNKS))
            outcome.require(code == 0, f"with room again the writer ended with {code}: {nest.failures()}")
            outcome.found.join(census(uri, _CHUNKS, known | nest.acknowledged()))
    how = f"{_SMALL >> 20} MiB tmpfs" if mounted else f"files of {_FILE_BYTES} bytes at most"
    outcome.proved = f"{how}: refused by name after {len(known)} writes, all of them kept; the rest with room"
    yield outcome


@contextmanager
def _small_disk(folder: Path) -> Iterator[bool]:
    """Mount a small tmpfs on a folder; give False where this user may not."""
    options = ["mount", "-t", "tmpfs", "-o", f"size={_SMALL}", "none", str(folder)]
    try:
        subprocess.run(options, check=True, capture_output=True)
    except (subprocess.CalledProcessError, FileNotFoundError):
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S607 - wherever the system keeps it
