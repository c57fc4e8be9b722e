"""What every flow's configuration shares."""

from __future__ import annotations

from pydantic import Field, field_validator

from flows.runners import scheduler_address
from glmstore.config import Frozen, Settings
from glmstore.store.connection import normalise_uri


class Foreseeable(Frozen):
    """What every flow can do instead of its work."""

    dry_run: bool = Field(
        False, description="Only show what would be computed and stored; compute and write nothing."
    )


class StoreConfig(Foreseeable):
    """The store a flow works on."""

    store: str = Field(
        default_factory=lambda: Settings().store,
        min_length=1,
        validate_default=True,
        description="Feature store: a directory or s3://bucket/prefix. Left out: the worker's own store.",
    )

    @field_validator("store")
    @classmethod
    def _outlives_a_process(cls, store: str) -> str:
        if store.startswith("memory:"):
            raise ValueError(
                "memory:// lives in one process only; a flow needs a store its tasks can open again"
            )
        return normalise_uri(store)  # tasks may run in another folder

    @property
    def place(self) -> str:
        """The last two parts of the store's URI, for people."""
        return "/".join(self.store.rstrip("/").rsplit("/", 2)[-2:])


class FlowConfig(StoreConfig):
    """The store that a flow fills."""

    force: bool = Field(False, description="Compute again what the store holds of what is asked for.")
    runner: str = Field(
        default_factory=lambda: Settings().runner,
        validate_default=True,
        description="Where tasks run: threads, or dask://HOST:PORT of a cluster that is running already.",
    )

    @field_validator("runner")
    @classmethod
    def _can_be_named(cls, runner: str) -> str:
        scheduler_address(runner)
        return runner
