"""How the work of a flow ends: what is there is reused, what fails is recorded, and failure comes last."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from prefect.futures import PrefectFuture, as_completed

from glmstore.errors import GlmstoreError
from glmstore.probing import failed_outcome
from glmstore.results import Cell
from glmstore.stages import Tally
from glmstore.store import FeatureStore

log = logging.getLogger("glmstore.flows")

Job = TypeVar("Job")


class WorkFailedError(GlmstoreError):
    """A flow that did everything else, but not these pieces.

    Attributes
    ----------
    failures
        (name, error) of each failed piece.
    tally
        What was done beside them.
    """

    exit_code = 1

    def __init__(self, failures: Sequence[tuple[str, str]], tally: Tally) -> None:
        self.failures, self.tally = list(failures), tally
        lines = "\n".join(f"  {what}: {error}" for what, error in self.failures)
        super().__init__(
            f"{len(self.failures)} pieces of work failed; "
            f"{tally.computed + tally.reused} are done and stored.\n"
            f"{lines}\nRun the same command again to compute only these."
        )


def settle(
    submitted: Sequence[tuple[Job, PrefectFuture[Any]]],
    *,
    stage: str,
    name: Callable[[Job], str],
    reused: int = 0,
    on_failure: Callable[[Job, BaseException], None] | None = None,
) -> Tally:
    """Wait for every piece of work, record the failed ones, then fail if there were any.

    Parameters
    ----------
    submitted
        Jobs and their futures.
    stage
        What to call the whole in progress messages.
    name
        What to call a job in messages.
    reused
        Pieces found in the store beforehand, for the tally.
    on_failure
        Records one failure, as a failed result row for instance.

    Raises
    ------
    WorkFailedError
        After all is done, if any piece failed.
    """
    failures: list[tuple[str, str]] = []
    jobs = {future: job for job, future in submitted}
    for number, future in enumerate(as_completed(list(jobs)), start=1):
        future.wait()
        job = jobs[future]
        progress = {"stage": stage, "done": number, "of": len(jobs), "item": name(job)}
        log.info("%s: %d of %d, %s", stage, number, len(jobs), name(job), extra=progress)
        if future.state.is_completed():
            continue
        error = future.state.result(raise_on_failure=False)
        if not isinstance(error, BaseException):
            error = RuntimeError(str(future.state.message))
        log.error("%s failed: %s", name(job), error)
        failures.append((name(job), f"{type(error).__name__}: {error}"))
        if on_failure:
            on_failure(job, error)
    tally = Tally(len(submitted) - len(failures), reused, len(failures))
    if failures:
        raise WorkFailedError(failures, tally)
    return tally


def compute_cells(
    store: FeatureStore,
    cells: Sequence[Cell],
    submit: Callable[[Cell], PrefectFuture[Any]],
    *,
    stage: str,
    force: bool = False,
) -> Tally:
    """Submit the cells that the store lacks, wait, and store a failed row for each that fails.

    Raises
    ------
    WorkFailedError
        After all is done, if any cell failed.
    """
    todo = unfinished(store, cells, force=force)
    log.info("%s: %d cells asked, %d in the store", stage, len(cells), len(cells) - len(todo))
    return settle(
        [(cell, submit(cell)) for cell in todo],
        stage=stage,
        name=lambda cell: f"{cell.head} on {cell.benchmark} with {cell.model}",
        reused=len(cells) - len(todo),
        on_failure=lambda cell, error: store.write_results(failed_outcome(cell, error).rows),
    )


def unfinished(store: FeatureStore, cells: Sequence[Cell], *, force: bool = False) -> list[Cell]:
    """Return the cells that still have to be computed, in order."""
    done = set() if force else store.completed([cell.key for cell in cells])
    return [cell for cell in cells if cell.key not in done]
