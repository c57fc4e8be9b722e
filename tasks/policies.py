"""How tasks are retried, named and limited: the only place that says so."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import httpx
from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.tasks import exponential_backoff

from glmstore.config import Settings
from glmstore.errors import GlmstoreError

P = ParamSpec("P")
R = TypeVar("R")

TRANSIENT = (ConnectionError, TimeoutError, httpx.TransportError)
"""What may pass by itself: storage or network out of reach for a moment."""

_TRANSIENT_MESSAGES = ("commit conflict", "too many concurrent writers", "out of memory")


def is_transient(error: BaseException) -> bool:
    """Tell whether trying again may help; bad input never passes by itself."""
    if isinstance(error, GlmstoreError):
        return False
    message = str(error).lower()
    return isinstance(error, TRANSIENT) or any(part in message for part in _TRANSIENT_MESSAGES)


def _may_retry(task: object, task_run: object, state: Any) -> bool:  # noqa: ARG001  (Prefect's signature)
    try:
        state.result()
    except Exception as error:  # noqa: BLE001  (the question is which error it was)
        return is_transient(error)
    return False


def compute_task(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Return a decorator for tasks that read from the store, compute, and write back to it.

    Prefect's own result cache stays out of it: whether a chunk or a cell is done is asked of the store, which
    knows after a crash too.

    Parameters
    ----------
    name
        Template of the task run's name over the task's parameters.
    """

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        @wraps(function)
        def with_its_share(*args: P.args, **kwargs: P.kwargs) -> R:
            _take_share_of_cores()
            return function(*args, **kwargs)

        return task(
            task_run_name=name,
            retries=3,
            retry_delay_seconds=exponential_backoff(backoff_factor=2),
            retry_jitter_factor=0.5,
            retry_condition_fn=_may_retry,
            cache_policy=NO_CACHE,
            persist_result=False,
        )(with_its_share)

    return decorate


def _take_share_of_cores() -> None:
    """Let this worker thread use as many torch threads as there are cores for each worker."""
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // Settings().workers))
