"""What every flow's configuration shares, and the pool its tasks run in."""

from __future__ import annotations

from typing import Any

from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from pydantic import Field, field_validator

from glmstore.config import Frozen, Settings


class Foreseeable(Frozen):
    """What every flow can do instead of its work."""

    dry_run: bool = Field(
        False, description="Only show what would be computed and stored; compute and write nothing."
    )


class StoreConfig(Foreseeable):
    """The store a flow works on."""

    store: str = Field(
        default_factory=lambda: Settings().store,
        description="Feature store: a directory or s3://bucket/prefix. Left out: the worker's GLMSTORE_STORE.",
    )

    @field_validator("store")
    @classmethod
    def _outlives_a_process(cls, store: str) -> str:
        if store.startswith("memory:"):
            raise ValueError(
                "memory:// lives in one process only; a flow needs a store its tasks can open again"
            )
        return store


class FlowConfig(StoreConfig):
    """The store that a flow fills."""

    force: bool = Field(
        False, description="Compute again what the store holds; views concerned are dropped whole first."
    )


def thread_pool() -> TaskRunner[PrefectFuture[Any]]:
    """Return a runner of `GLMSTORE_WORKERS` threads; each task may use the cores itself."""
    return ThreadPoolTaskRunner(max_workers=Settings().workers)  # type: ignore[return-value]
