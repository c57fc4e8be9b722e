"""How a flow ends: every failed piece is named and recorded, and the flow fails after the rest is done."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from prefect.futures import PrefectFuture

from glmstore.errors import GlmstoreError

log = logging.getLogger("glmstore.flows")

Job = TypeVar("Job")


class CellsFailedError(GlmstoreError):
    """A flow that did everything else, but not these."""

    def __init__(self, failures: Iterable[tuple[str, str]], of: int) -> None:
        self.failures = list(failures)
        lines = "\n".join(f"  {what}: {error}" for what, error in self.failures)
        super().__init__(
            f"{len(self.failures)} of {of} pieces of work failed; the others are done and stored.\n{lines}\n"
            f"Run the same command again to compute only these."
        )


def settle(
    submitted: list[tuple[Job, PrefectFuture[Any]]],
    *,
    name: Callable[[Job], str],
    on_failure: Callable[[Job, BaseException], None] | None = None,
) -> list[Any]:
    """Wait for every piece of work, record the failed ones, then fail if there were any.

    Parameters
    ----------
    submitted
        Jobs and their futures.
    name
        What to call a job in messages.
    on_failure
        Records one failure, as a failed result row for instance.

    Returns
    -------
    list
        The results, in the order submitted.

    Raises
    ------
    CellsFailedError
        After all is done, if any piece failed.
    """
    results: list[Any] = []
    failures: list[tuple[str, str]] = []
    for job, future in submitted:
        future.wait()
        outcome = future.state.result(raise_on_failure=False)
        if future.state.is_completed():
            results.append(outcome)
            continue
        error = outcome if isinstance(outcome, BaseException) else RuntimeError(str(future.state.message))
        failures.append((name(job), f"{type(error).__name__}: {error}"))
        log.error("%s failed: %s", name(job), error)
        if on_failure:
            on_failure(job, error)
    if failures:
        raise CellsFailedError(failures, len(submitted))
    return results
