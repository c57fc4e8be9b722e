"""How work is tried again, kept from being done twice, named and limited: the only place that says so."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

import httpx
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.exceptions import HTTPClientError
from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_chain, wait_random

from glmstore import metering
from glmstore.config import Settings
from glmstore.errors import DeviceMemoryError, GlmstoreError, WorkerError
from glmstore.leases import Held, lease
from glmstore.objects.s3_errors import BUSY, LANCE_AWAY, LANCE_BUSY
from tasks.monitoring import watch_this_process

log = logging.getLogger("glmstore.tasks")

P = ParamSpec("P")
R = TypeVar("R")

RETRY_DELAYS_S = [2.0, 4.0, 8.0, 16.0, 30.0]
"""Seconds before each repetition, on average: a storage that is away for a minute is waited for."""
JITTER = 0.5
"""How far each of them strays, as a share of it: tasks that failed together do not come back together."""


class Passing(NamedTuple):
    """A kind of error that may pass by itself, and what it is known by."""

    why: str
    types: tuple[type[BaseException], ...] = ()
    names: frozenset[str] = frozenset()
    """Classes of packages that may not be installed here, as ``package.Class``."""
    codes: frozenset[str] = frozenset()
    """What a storage or server answered: its own words, or the HTTP status."""
    says: str = "(?!)"
    """Pattern of the message where the class says nothing; case does not matter."""


TRANSIENT = (
    Passing(
        "storage or network is out of reach",
        types=(ConnectionError, TimeoutError, httpx.TransportError, BotoConnectionError, HTTPClientError),
        names=frozenset({"distributed.CommClosedError"}),
        says=LANCE_AWAY,
    ),
    Passing(
        "storage or a server has too much to do",
        codes=BUSY | {"408", "429", "500", "502", "503", "504"},
        says=LANCE_BUSY,
    ),
    Passing(
        "another writer was first",
        says="commit conflict|too many concurrent writers|incompatible transaction.*overwrite",
    ),
    Passing(
        "the process or machine that did the work is gone",
        types=(WorkerError, BrokenExecutor),
        names=frozenset({"distributed.KilledWorker", "distributed.NoValidWorkerError"}),
    ),
    Passing(
        "others hold the memory for the moment",
        types=(MemoryError,),
        says="out of memory|can't allocate memory|cannot allocate memory|CUBLAS_STATUS_ALLOC_FAILED",
    ),
)
"""What may pass by itself. Everything else fails at once, bad input above all."""


def is_transient(error: BaseException) -> bool:
    """Tell whether trying again may help; bad input never passes by itself.

    Our own errors are known by their class only: what they say may quote anything. A single sequence that
    does not fit on a device is bad input.
    """
    if isinstance(error, DeviceMemoryError):
        return False
    return any(_is(error, kind) for kind in TRANSIENT)


def _is(error: BaseException, kind: Passing) -> bool:
    if isinstance(error, kind.types):
        return True
    if isinstance(error, GlmstoreError):
        return False
    names = {f"{cls.__module__.partition('.')[0]}.{cls.__name__}" for cls in type(error).__mro__}
    spoken = re.search(kind.says, str(error), re.IGNORECASE | re.DOTALL) is not None
    return bool(names & kind.names) or bool(_codes(error) & kind.codes) or spoken


def _codes(error: BaseException) -> set[str]:
    """Return what boto3's ClientError or httpx's HTTPStatusError says was answered."""
    response = getattr(error, "response", None)
    if isinstance(response, httpx.Response):
        return {str(response.status_code)}
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return {str(response.get("Error", {}).get("Code")), str(status)}
    return set()


def _may_retry(task: Task[..., Any], task_run: object, state: Any) -> bool:  # noqa: ARG001  (Prefect's)
    """Tell whether a task is tried again; only asked where it has tries left."""
    try:
        state.result()
    except Exception as error:  # noqa: BLE001  (the question is which error it was)
        if is_transient(error):
            metering.retried(task.name, error)
            return True
    return False


def patiently(job: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do what a flow itself asks of the store, as patiently as its tasks do what they ask.

    Raises
    ------
    Exception
        What `job` raised, at once if it does not pass by itself, else the last time.
    """
    waits = (wait_random((1 - JITTER) * mean, (1 + JITTER) * mean) for mean in RETRY_DELAYS_S)
    again = Retrying(
        retry=retry_if_exception(is_transient),
        wait=wait_chain(*waits),
        stop=stop_after_attempt(1 + len(RETRY_DELAYS_S)),
        before_sleep=_say_again,
        reraise=True,
    )
    return again(job, *args, **kwargs)


def _say_again(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Exception):
        name = getattr(state.fn, "__name__", "a step")
        log.warning("%s failed: %s; again in %.0f s", name, error, state.upcoming_sleep)
        metering.retried(name, error)


def alone(store: str, work: str) -> AbstractContextManager[Held]:
    """Hold a piece of work for the length of a block, waiting while another run holds it.

    Whoever had to wait looks in the store again before computing. A holder that was killed is waited for as
    long as `GLMSTORE_LEASE_SECONDS`. One that lost the lease, as to a network that was away for longer, may
    go on: then both compute, and the store keeps each row once.

    Parameters
    ----------
    store
        URI of the store that will hold the result.
    work
        Says what is computed by its contents, never by who wants it or by which code.
    """
    return lease(store, work, Settings().lease_seconds)


def compute_task(name: str, *, every_core: bool = False) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Return a decorator for tasks that read from the store, compute, and write back to it.

    Prefect's own result cache stays out of it: whether a chunk or a cell is done is asked of the store, which
    knows after a crash too.

    Parameters
    ----------
    name
        Template of the task run's name over the task's parameters.
    every_core
        Let it use all cores, for tasks that nothing runs beside.
    """

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        @wraps(function)
        def watched(*args: P.args, **kwargs: P.kwargs) -> R:
            watch_this_process()
            if not every_core:
                _take_share_of_cores()
            return function(*args, **kwargs)

        return task(
            task_run_name=name,
            retries=len(RETRY_DELAYS_S),
            retry_delay_seconds=RETRY_DELAYS_S,
            retry_jitter_factor=JITTER,
            retry_condition_fn=_may_retry,
            cache_policy=NO_CACHE,
            persist_result=False,
        )(watched)

    return decorate


def _take_share_of_cores() -> None:
    """Let this worker thread use as many torch threads as there are cores for each worker."""
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // Settings().workers))
