"""What training and tuning of probes may be told, and what a search found."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from glmstore.config import Frozen


class TuneSettings(Frozen):
    """A search over a head's hyperparameters; the same for every model that is compared."""

    n_trials: int = Field(20, ge=1, description="Trials that finish or are pruned; the first is the default.")
    max_epochs: int = Field(30, ge=1, description="Longest training of a trial, and of the tuned probe.")
    min_epochs: int = Field(2, ge=1, description="Epochs before a trial may be pruned.")
    reduction: int = Field(3, ge=2, description="One trial in so many goes on at each rung of pruning.")
    max_train: int | None = Field(None, ge=1, description="Training items of a trial; None: all.")
    seed: int = Field(0, ge=0, description="Of the search, and of the training of every trial.")


class Tuned(Frozen):
    """What a search found."""

    study: str
    hyperparameters: dict[str, Any] = Field(description="Of the best trial on validation.")
    trials: int = Field(description="Trials that finished or were pruned.")
    pruned: int
    valid_score: float = Field(description="Of the best trial.")
    default_score: float | None = Field(description="Of the default hyperparameters.")


class ProbeSettings(Frozen):
    """How the probes of one cell are trained and judged."""

    seeds: tuple[int, ...] = Field((0, 1, 2, 3, 4), min_length=1, description="One probe a seed.")
    max_epochs: int | None = Field(
        None, ge=1, description="Epoch limit of torch heads; None: the head's own."
    )
    hyperparameters: dict[str, Any] | None = Field(None, description="Overrides of the head's defaults.")
    n_bootstrap: int = Field(1000, ge=1, description="Resamples of each interval.")
    max_train: int | None = Field(
        None,
        ge=1,
        description="Training items, those with the smallest keys (a hash of the sequence); None: all.",
    )
    permute_labels: bool = Field(False, description="The control: train on labels in random order.")
    tune: TuneSettings | None = Field(
        None, description="The search that hyperparameters come from; None: none."
    )

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("each seed may stand once")
        return seeds
