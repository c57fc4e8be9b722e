"""Remember comparisons: a bootstrap over the same stored predictions always gives the same numbers."""

from __future__ import annotations

import json
import logging
from hashlib import blake2b
from pathlib import Path
from typing import Any

from glmstore import __version__
from glmstore.errors import StoreNotWritableError
from glmstore.report.atomic import write_atomically
from glmstore.stats.bootstrap import Interval

log = logging.getLogger(__name__)


class Memory:
    """Intervals by the digest of what they were computed from, kept in one JSON file.

    Losing the file costs time, never a number: so one that cannot be read is started afresh, and one that
    cannot be written is left alone.

    Parameters
    ----------
    path
        The file; read on creation, written by `save`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, list[float]] = _read(path)
        self._new = False

    @staticmethod
    def key(*parts: Any) -> str:
        """Return the digest of everything that decides an interval, this version of glmstore included."""
        payload = json.dumps([__version__, *parts], sort_keys=True, default=str).encode()
        return blake2b(payload, digest_size=16).hexdigest()

    def get(self, key: str) -> Interval | None:
        """Return the interval stored under `key`, or None."""
        found = self._known.get(key)
        return None if found is None else Interval(*found)

    def put(self, key: str, interval: Interval) -> None:
        """Remember an interval; on disk after the next `save`."""
        self._known[key] = list(interval)
        self._new = True

    def save(self) -> None:
        """Write the file if anything was added."""
        if not self._new:
            return
        try:
            write_atomically(self.path, json.dumps(self._known).encode())
        except StoreNotWritableError as error:
            log.info("comparisons are not kept for next time: %s", error)
        self._new = False


def _read(path: Path) -> dict[str, list[float]]:
    try:
        known = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        log.info("%s is not read, and comparisons are made again: %s", path, error)
        return {}
    return known if isinstance(known, dict) else {}
