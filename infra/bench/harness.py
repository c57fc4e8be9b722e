"""Measure two ways of doing the same job side by side, and say how they compare."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal


@dataclass(frozen=True)
class BenchRow:
    """One line of the bench.

    `ok` is None where the target does not apply or could not be run; `note` then gives the reason.
    """

    name: str
    value: float | None
    unit: str
    target: str
    ok: bool | None
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the row as it stands in build/bench.json."""
        return asdict(self)


def at_least(name: str, ratio: float, target: float, note: str = "") -> BenchRow:
    """Return a row for a ratio that has to reach `target`."""
    return BenchRow(name, round(ratio, 3), "x", f">= {target}", ratio >= target, note)


def at_most(name: str, ratio: float, target: float, note: str = "") -> BenchRow:
    """Return a row for a ratio that may not pass `target`."""
    return BenchRow(name, round(ratio, 3), "x", f"<= {target}", ratio <= target, note)


def shown(name: str, value: float, unit: str, note: str = "") -> BenchRow:
    """Return a row that is shown beside others and has no target of its own."""
    return BenchRow(name, round(value, 3), unit, "", None, note or "shown for comparison, no target")


def interleaved(
    jobs: Mapping[str, Callable[[], object]], *, rounds: int = 5, clock: Literal["cpu", "wall"] = "cpu"
) -> dict[str, float]:
    """Run every job in turn, round after round, and return each one's median seconds.

    Parameters
    ----------
    jobs
        Name -> job; run once unmeasured first.
    rounds
        At least 3.
    clock
        "cpu" counts this process's CPU time over all threads, so a busy machine does not change it;
        "wall" is for work that waits for the disk.

    Raises
    ------
    ValueError
        If fewer than 3 rounds are asked for.
    """
    if rounds < 3:
        raise ValueError("a median of fewer than 3 rounds says nothing")
    read = time.process_time if clock == "cpu" else time.perf_counter
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()
    for _ in range(rounds):
        for name, job in jobs.items():
            start = read()
            job()
            taken[name].append(read() - start)
    return {name: median(times) for name, times in taken.items()}
