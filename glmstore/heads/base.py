"""What a head is: a way of training a probe on features, and the space it may be tuned over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from pydantic import Field

from glmstore.config import Frozen

if TYPE_CHECKING:
    import numpy as np
    import optuna

TrainedKind = Literal["regression", "binary"]
Report = Callable[[int, float], None]
"""``report(epoch, validation_score)``: called after every epoch; may raise optuna.TrialPruned."""


class HeadSpec(Frozen):
    """A head as data."""

    name: str
    summary: str
    kinds: tuple[TrainedKind, ...] = Field(description="Label kinds it can be trained for.")
    input: Literal["vector", "tokens"] = Field(
        description="'vector': [N, D] (token-level features are flattened); 'tokens': [N, T, D]."
    )
    protocol: str = Field(
        description="'glmstore', 'tang2025_paper', …: the frozen set of choices it follows."
    )
    stochastic: bool = Field(
        True, description="False: equal data give an equal probe whatever the seed, so it is fitted once."
    )
    citation: str = ""


class FitData(NamedTuple):
    """Features and labels to train on and to choose by; never the test split.

    x: float16/float32 [N, D] or [N, T, D]; y: float64 [N]; *_lengths: int [N] token counts or None.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_valid: np.ndarray
    y_valid: np.ndarray
    kind: TrainedKind


class Probe(Protocol):
    """A fitted head."""

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return float64 [N]: the label's estimate, or for a binary label the probability of 1."""
        ...


@dataclass(frozen=True)
class Fitted:
    """What training returns: the probe, and what it chose on validation."""

    probe: Probe
    valid_score: float
    chosen: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 0


class Fit(Protocol):
    """Trains a probe."""

    def __call__(
        self,
        data: FitData,
        *,
        seed: int,
        hyperparameters: Mapping[str, Any] | None = None,
        max_epochs: int | None = None,
        report: Report | None = None,
    ) -> Fitted:
        """Return the probe; chosen on validation only."""
        ...


@dataclass(frozen=True)
class Head:
    """A registry entry.

    Attributes
    ----------
    spec
        The description.
    fit
        Trains and selects on validation only; raises HeadError if the data do not suit it.
    search_space
        ``search_space(trial)`` draws hyperparameters for Optuna; None where nothing needs a search (ridge).
    defaults
        Hyperparameters used when none are given.
    """

    spec: HeadSpec
    fit: Fit
    search_space: Callable[[optuna.Trial], dict[str, Any]] | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Registry name."""
        return self.spec.name
