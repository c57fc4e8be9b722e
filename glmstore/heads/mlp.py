"""The paper's multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from glmstore.heads.base import FitData, Fitted, Head, HeadSpec, Report
from glmstore.heads.checks import checked, merged

if TYPE_CHECKING:
    import optuna

_SPEC = HeadSpec(
    name="mlp",
    summary="Dense 512 and 256 with ReLU, batch norm and dropout, on standardised features.",
    kinds=("regression", "binary"),
    input="vector",
    protocol="glmstore",
    citation="Tang et al. 2025, Genome Biology 26:203",
)
_DEFAULTS: dict[str, Any] = {
    "learning_rate": 1e-4,
    "width": 1.0,
    "dropout": 0.5,
    "weight_decay": 0.0,
    "batch_size": 512,
    "precision": "float32",
}


def search_space(trial: optuna.Trial) -> dict[str, Any]:
    """Draw learning rate, width, dropout and (decoupled) weight decay."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True),
        "width": trial.suggest_categorical("width", [0.25, 0.5, 1.0, 2.0]),
        "dropout": trial.suggest_float("dropout", 0.0, 0.7),
        "weight_decay": trial.suggest_float("weight_decay", 0.0, 0.3),
    }


def fit(
    data: FitData,
    *,
    seed: int,
    hyperparameters: Mapping[str, Any] | None = None,
    max_epochs: int | None = None,
    report: Report | None = None,
) -> Fitted:
    """Train by Adam (AdamW where there is weight decay) with early stopping on validation.

    Architecture, loss, batch size and the schedule (decay by 0.2 after 5 epochs without progress, stop after
    10, 100 at most) are the paper's; features and labels are standardised on the training rows, which the
    paper does not do.

    Raises
    ------
    HeadError
        If the data do not suit the head, or the training diverges.
    """
    data = checked(data, _SPEC)
    choices = merged(_SPEC, _DEFAULTS, hyperparameters)

    from glmstore.heads.neural.probe import fit_network

    architecture = {"dim": data.x_train.shape[1], "width": choices["width"], "dropout": choices["dropout"]}
    return fit_network("mlp", architecture, data, choices, seed=seed, max_epochs=max_epochs, report=report)


MLP = Head(_SPEC, fit, search_space, _DEFAULTS)
