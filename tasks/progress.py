"""Progress in the Prefect UI: how much is done, how fast, how long yet."""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import Self
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import PrefectException

from glmstore.report.text import duration_text
from tasks.artifacts import artifact_key

log = logging.getLogger("glmstore.progress")

INTERVAL_S = 2.0
"""Seconds between two updates at least: each is a request to the server."""


class StageProgress:
    """A progress artifact with the rate and the time left in its description.

    Used as a context manager inside a run. Where there is nothing to do, or no run, it shows nothing; where
    the server cannot be reached, it says so once in the log and the work goes on.

    Parameters
    ----------
    stage
        What the whole is called; also the artifact's key.
    total
        How much there is to do.
    unit
        What is counted, in the plural.
    """

    def __init__(self, stage: str, total: float, *, unit: str) -> None:
        self._stage, self._total, self._unit = stage, total, unit
        self._done = self._failed = 0.0
        self._artifact: UUID | None = None
        self._warned = False
        self._started = self._shown = time.monotonic()

    def __enter__(self) -> Self:
        """Show that nothing is done yet."""
        if self._total and (FlowRunContext.get() or TaskRunContext.get()):
            self._show()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show how it ended."""
        if self._artifact is not None and not (kind and issubclass(kind, KeyboardInterrupt | SystemExit)):
            self._show()

    def advance(self, size: float = 1, *, failed: bool = False) -> None:
        """Count work that has ended; what failed does not count as done."""
        if failed:
            self._failed += size
        else:
            self._done += size
        if self._artifact is not None and time.monotonic() - self._shown >= INTERVAL_S:
            self._show()

    @property
    def percent(self) -> float:
        """How much of the whole is done and did not fail."""
        return min(100.0, 100 * self._done / self._total)

    def describe(self, seconds: float) -> str:
        """Say how it stands after so many seconds."""
        ended = self._done + self._failed
        parts = [f"{self._stage}: {self._done:,.0f} of {self._total:,.0f} {self._unit}"]
        if self._failed:
            parts.append(f"{self._failed:,.0f} failed")
        if ended and seconds > 0:
            rate = ended / seconds
            parts.append(_rate(rate, self._unit))
            left = (self._total - ended) / rate
            parts.append(f"about {duration_text(left)} left" if left > 0 else f"in {duration_text(seconds)}")
        return ", ".join(parts)

    def _show(self) -> None:
        self._shown = time.monotonic()
        text = self.describe(self._shown - self._started)
        try:
            if self._artifact is None:
                made = create_progress_artifact(self.percent, artifact_key("progress", self._stage), text)
                self._artifact = made  # type: ignore[assignment]  # (a UUID where there is no event loop)
            else:
                update_progress_artifact(self._artifact, self.percent, text)
        except (httpx.HTTPError, PrefectException) as error:
            if not self._warned:
                log.warning("%s: the progress is not shown: %s", self._stage, error)
            self._warned = True


def _rate(per_second: float, unit: str) -> str:
    """Return a rate by the second, or by the minute or hour where that gives the number one can grasp."""
    periods = (("s", 1), ("min", 60), ("h", 3600))
    period, factor = next(((p, f) for p, f in periods if per_second * f >= 1), periods[-1])
    value = per_second * factor
    return f"{value:,.{0 if value >= 10 else 1}f} {unit}/{period}"
