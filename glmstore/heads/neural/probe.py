"""A fitted network as a probe, and the common way from data to one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from glmstore.errors import HeadError
from glmstore.heads.base import FitData, Fitted, Report, TrainedKind
from glmstore.heads.checks import as_vectors
from glmstore.heads.linear import Moments
from glmstore.heads.neural.layers import ScoringModule, Standardise, initialise
from glmstore.heads.neural.networks import MLP, build
from glmstore.heads.neural.training import (
    MAX_EPOCHS,
    Precision,
    Schedule,
    chosen_device,
    forward,
    place,
    train,
)


@dataclass(frozen=True)
class TorchProbe:
    """A fitted network.

    Attributes
    ----------
    head
        Name of the head that trained it.
    kind
        Label kind it was trained for.
    architecture
        Keyword arguments its network is built from.
    module
        Maps features, [B, D] or [B, T, D], to [B] in the label's unit (log odds for binary labels), in
        evaluation mode. Differentiable by its input: for a CNN on one-hot sequences, float [B, L, 4].
    """

    head: str
    kind: TrainedKind
    architecture: Mapping[str, Any]
    module: ScoringModule

    @property
    def standardiser(self) -> Standardise | None:
        """The layer that standardises features; None where batch norm does it, or one-hot needs none."""
        network = self.module.network
        return network.standardiser if isinstance(network, MLP) else None

    @property
    def features(self) -> tuple[int, ...]:
        """Shape of one row: (D,) or (T, D)."""
        sizes = (self.architecture.get("tokens"), self.architecture["dim"])
        return tuple(size for size in sizes if size is not None)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return float64 [N]: the label's estimate, or the probability of 1.

        Raises
        ------
        HeadError
            If a row is not of the shape the probe was trained on.
        """
        x = np.asarray(x)
        if len(self.features) == 1:
            x = as_vectors(x)
        if x.shape[1:] != self.features:
            raise HeadError(
                f"this {self.head} probe reads rows of {list(self.features)}, not {list(x.shape[1:])}; "
                f"use the view it was trained on."
            )
        score = forward(self.module, place(x, next(self.module.parameters()).device))
        if self.kind == "regression":
            return score
        from scipy.special import expit

        return np.asarray(expit(score))


def fit_network(
    head: str,
    architecture: dict[str, Any],
    data: FitData,
    choices: Mapping[str, Any],
    *,
    seed: int,
    max_epochs: int | None,
    report: Report | None,
) -> Fitted:
    """Build, initialise and train the network of a head on checked data.

    Parameters
    ----------
    head, architecture
        What to build.
    data
        Checked features and labels; labels are standardised here, on the training rows.
    choices
        ``learning_rate``, ``weight_decay``, ``batch_size`` and ``precision``, and what else the head chose.
    seed
        Of initialisation, batch order and dropout.
    max_epochs
        None: 100, as in Tang et al. 2025.
    report
        Called after every epoch.

    Raises
    ------
    HeadError
        If the shape does not suit the network.
    TrainingDivergedError
        If the loss is not finite any more.
    """
    device = chosen_device()
    network = build(head, architecture)
    initialise(network, torch.Generator().manual_seed(seed))
    _standardise(network, data.x_train)
    network.to(device)
    mean, scale = _label_scale(data)
    standardised = data._replace(y_train=(data.y_train - mean) / scale, y_valid=(data.y_valid - mean) / scale)
    trained = train(network, standardised, _schedule(choices, max_epochs), seed=seed, report=report)
    module = ScoringModule(network, mean, scale).to(device).eval()
    chosen = {
        **choices,
        "precision": trained.precision,
        "device": device.type,
        "best_epoch": trained.best_epoch,
        "seconds_per_epoch": round(trained.seconds_per_epoch, 3),
    }
    return Fitted(
        TorchProbe(head, data.kind, architecture, module), trained.valid_score, chosen, trained.epochs
    )


def _standardise(network: nn.Module, x: np.ndarray) -> None:
    if isinstance(network, MLP):
        moments = Moments.of(x)
        network.standardiser.mean.copy_(_float32(moments.mean))
        network.standardiser.scale.copy_(_float32(moments.scale))


def _float32(x: np.ndarray) -> Tensor:
    return torch.as_tensor(x, dtype=torch.float32)


def _label_scale(data: FitData) -> tuple[float, float]:
    if data.kind == "binary":
        return 0.0, 1.0
    return float(data.y_train.mean()), float(data.y_train.std())


def _schedule(choices: Mapping[str, Any], max_epochs: int | None) -> Schedule:
    precision: Precision = choices["precision"]
    if precision not in ("auto", "float32", "bfloat16"):
        raise HeadError(f"precision {precision!r} is none of 'auto', 'float32' and 'bfloat16'.")
    if (
        choices["learning_rate"] <= 0
        or choices["batch_size"] < 2
        or (max_epochs is not None and max_epochs < 1)
    ):
        raise HeadError(
            "a network needs a learning rate above 0, batches of 2 rows or more and one epoch or more."
        )
    return Schedule(
        learning_rate=float(choices["learning_rate"]),
        weight_decay=float(choices["weight_decay"]),
        batch_size=int(choices["batch_size"]),
        max_epochs=MAX_EPOCHS if max_epochs is None else max_epochs,
        precision=precision,
    )
