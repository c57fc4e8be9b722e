"""Result rows: the one shape in which every reader reports, and every leaderboard reads."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import Field

from glmstore.config import Frozen


class Cell(Frozen):
    """One cell of model x benchmark x head: what is computed once and then known.

    `seeds` and every setting that changes a number are part of the identity, so a cell that is present in the
    store never has to be computed again.
    """

    benchmark: str
    benchmark_digest: str = Field(description="BenchmarkData.digest")
    model: str
    view: str = Field(description="FeatureView.name, or '-' where a reader uses no stored view.")
    head: str = Field(description="Head, scorer or analysis by name.")
    protocol: str
    split: str = Field(description="How the benchmark was split; rows are always scored on its test part.")
    seeds: tuple[int, ...] = (0,)
    settings: dict[str, Any] = Field(
        default_factory=dict, description="Everything else that changes a number."
    )

    @property
    def key(self) -> str:
        """Thirty-two hex digits that stand for the whole identity."""
        payload = json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()
        return hashlib.blake2b(payload, digest_size=16).hexdigest()


class ResultRow(Frozen):
    """One metric of one cell. A failed cell is one row with status 'failed', an error, and no value."""

    cell_key: str
    model: str
    view: str
    benchmark: str
    split: str
    head: str
    protocol: str
    metric: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    n: int = Field(ge=0, description="Test items scored.")
    seeds: int = Field(ge=1, description="Number of probe seeds the value is the mean of.")
    control: str = Field("none", description="ModelSpec.control of the model.")
    pretraining_overlap: Literal["none", "possible", "yes", "not applicable"] = Field(
        "not applicable", description="Whether the model may have seen the test sequences in pretraining."
    )
    status: Literal["ok", "failed"] = "ok"
    error: str | None = None
    details: str = Field(
        "{}", description="JSON: chosen hyperparameters, epochs, validation scores, seconds."
    )
    code_version: str = ""


class PredictionRow(Frozen):
    """One test item's prediction under one cell and seed."""

    cell_key: str
    seed: int
    item_id: str
    seq_key: str
    cluster: str
    label: float
    prediction: float
