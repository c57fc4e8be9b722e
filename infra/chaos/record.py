"""The record of the suite: what each fault last did, in each of its two forms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Entry = dict[str, Any]


def read(path: Path) -> list[Entry]:
    """Return what is recorded, nothing where there is no record; what names no fault is of old, and left out.

    Raises
    ------
    ValueError
        If the file is no such record.
    """
    if not path.exists():
        return []
    try:
        return [entry for entry in json.loads(path.read_text()) if entry["name"] and "fault" in entry]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no record of this suite ({error!r}): move it away, or name another."
        ) from error


def merge(path: Path, told: Sequence[Entry]) -> None:
    """Put what a run told in the place of what the same faults told in the same form, and leave the rest."""
    again = {_run(entry) for entry in told}
    kept = [entry for entry in read(path) if _run(entry) not in again]
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps([*kept, *told], indent=2) + "\n")
    new.replace(path)


def _run(entry: Entry) -> tuple[str, bool]:
    return entry["fault"], entry["short"]
