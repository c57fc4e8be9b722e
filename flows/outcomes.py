"""How the work of a flow ends: what is there is reused, what fails is recorded, and failure comes last."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from queue import SimpleQueue
from typing import Any, TypeVar

from prefect.futures import PrefectFuture

from flows.runners import room
from glmstore import metering
from glmstore.errors import GlmstoreError
from glmstore.probing import failed_outcome
from glmstore.results import Cell
from glmstore.stages import Tally
from glmstore.store import FeatureStore
from tasks.policies import patiently
from tasks.progress import StageProgress

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
    jobs: Sequence[Job],
    submit: Callable[[Job], PrefectFuture[Any]],
    *,
    stage: str,
    name: Callable[[Job], str],
    unit: str = "pieces",
    size: Callable[[Job], int] = lambda _: 1,
    reused: int = 0,
    on_success: Callable[[Job], None] | None = None,
    on_failure: Callable[[Job, BaseException], None] | None = None,
) -> Tally:
    """Have every piece of work done, record the failed ones, then fail if there were any.

    Parameters
    ----------
    jobs
        The pieces.
    submit
        Starts one.
    stage
        What to call the whole in progress messages.
    name
        What to call a job in messages.
    unit, size
        What progress is counted in, in the plural, and how many of them a job is.
    reused
        Pieces found in the store beforehand, for the tally.
    on_success, on_failure
        Record how one piece ended, as a failed result row for instance.

    Raises
    ------
    WorkFailedError
        After all is done, if any piece failed.
    """
    failures: list[tuple[str, str]] = []
    with StageProgress(stage, sum(map(size, jobs)), unit=unit) as shown:
        for number, (job, error) in enumerate(done(jobs, submit), start=1):
            progress = {"stage": stage, "done": number, "of": len(jobs), "item": name(job)}
            log.info("%s: %d of %d, %s", stage, number, len(jobs), name(job), extra=progress)
            shown.advance(size(job), failed=error is not None)
            if error is None:
                if on_success:
                    on_success(job)
                continue
            log.error("%s failed: %s", name(job), error)
            failures.append((name(job), f"{type(error).__name__}: {error}"))
            if on_failure:
                failures += _recorded(name(job), on_failure, job, error)
    tally = Tally(len(jobs) - len(failures), reused, len(failures))
    if failures:
        raise WorkFailedError(failures, tally)
    return tally


def _recorded(
    name: str, record: Callable[[Job, BaseException], None], job: Job, error: BaseException
) -> Iterator[tuple[str, str]]:
    """Record how a piece failed; what stands in the way of that is a failure too, and not of the others."""
    try:
        patiently(record, job, error)
    except Exception as unrecorded:  # noqa: BLE001  (the other pieces go on, whatever it is)
        log.error("the record of %s failed: %s", name, unrecorded)  # noqa: TRY400  (its trace says no more)
        yield f"the record of {name}", f"{type(unrecorded).__name__}: {unrecorded}"


def done(
    jobs: Iterable[Job], submit: Callable[[Job], PrefectFuture[Any]]
) -> Iterator[tuple[Job, Exception | None]]:
    """Submit jobs, a few more at a time than can run at once; yield each as it ends, with what it failed of.

    However many jobs there are, only those few are held by the engine that runs them.
    """
    waiting, running = iter(jobs), dict[PrefectFuture[Any], Job]()
    ended: SimpleQueue[PrefectFuture[Any]] = SimpleQueue()
    while True:
        for job in islice(waiting, max(0, room() - len(running))):
            future = submit(job)
            running[future] = job
            future.add_done_callback(ended.put)
        if not running:
            return
        future = ended.get()
        ending = running.pop(future), failure(future)
        del future  # a cluster computes again what it loses, as long as somebody refers to it
        yield ending


def failure(future: PrefectFuture[Any]) -> Exception | None:
    """Return what a piece of work that has ended failed of: its own error, or that of what it ran on."""
    try:
        future.result()
    except Exception as error:  # noqa: BLE001  (whatever it is, it is recorded)
        return error
    return None


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
    todo = patiently(unfinished, store, cells, force=force)
    log.info("%s: %d cells asked, %d in the store", stage, len(cells), len(cells) - len(todo))
    metering.reused("cell", len(cells) - len(todo))

    def record(cell: Cell, error: BaseException) -> None:
        store.write_results(failed_outcome(cell, error).rows)
        metering.failed("cell", 1)

    return settle(
        todo,
        submit,
        stage=stage,
        name=lambda cell: f"{cell.head} on {cell.benchmark} with {cell.model}",
        unit="cells",
        reused=len(cells) - len(todo),
        on_success=lambda _: metering.computed("cell", 1),
        on_failure=record,
    )


def unfinished(store: FeatureStore, cells: Sequence[Cell], *, force: bool = False) -> list[Cell]:
    """Return the cells that still have to be computed, in order."""
    done = set() if force else store.completed([cell.key for cell in cells])
    return [cell for cell in cells if cell.key not in done]
