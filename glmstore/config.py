"""Settings: the only place that reads the environment, and the base of every configuration model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from platformdirs import user_cache_path, user_data_path
from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

Precision = Literal["auto", "float32", "bfloat16"]
"""What embeddings are computed in; see :func:`glmstore.extraction.materialize_many` for ``auto``."""


class Frozen(BaseModel):
    """A configuration or record that is checked when made and never changes afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Settings(BaseSettings):
    """What the environment decides, each as `GLMSTORE_<NAME>`; empty is an error, never a default."""

    model_config = SettingsConfigDict(env_prefix="GLMSTORE_", frozen=True, extra="ignore")

    store: str = Field("./.glmstore/store", min_length=1, description="URI of the default feature store.")
    mirror: Path | None = Field(
        None,
        description="Folder holding the file of https://HOST/PATH at HOST/PATH; asked before the network.",
    )
    cache: Path = Field(
        default_factory=lambda: user_cache_path("glmstore"), description="Folder for fetched, verified files."
    )
    models: Path = Field(
        default_factory=lambda: user_data_path("glmstore") / "models",
        description="Folder of pulled checkpoints, one folder a model.",
    )
    offline: bool = Field(False, description="Never touch the network; mirror and cache still serve.")
    workers: int = Field(
        default_factory=lambda: min(os.cpu_count() or 1, 8),
        ge=1,
        description="Tasks a flow runs at once in a process.",
    )
    runner: str = Field(
        "threads",
        min_length=1,
        description="Where a flow's tasks run: threads, or dask://HOST:PORT of a cluster.",
    )
    lease_seconds: float = Field(
        60.0,
        ge=5,
        description="How long a killed run holds up others that want what it was computing, at most.",
    )
    log: Literal["text", "json"] = Field(
        "text", description="How the log is written to stderr: for people, or as one JSON object a line."
    )
    debug: bool = Field(False, description="Show the traceback of errors that a user caused, too.")
    device: str = Field("auto", min_length=1, description="Torch device: auto, cpu, cuda, cuda:1, mps.")
    precision: Precision = Field(
        "auto",
        description="Compute precision of embeddings: float32, bfloat16, or auto, which is what a view is "
        "stored in, and for a new one bfloat16 where every device has it natively, else float32.",
    )
