"""The paper's baseline lentiMPRA CNN, on one-hot sequences and on token-level embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from glmstore.heads.base import FitData, Fitted, Head, HeadSpec, Report
from glmstore.heads.checks import checked, merged

if TYPE_CHECKING:
    import optuna

NUCLEOTIDES = 4
_SPEC = HeadSpec(
    name="cnn",
    summary="Two convolutions with exponential and ReLU, pooled, then dense 512 and 256; on token views.",
    kinds=("regression", "binary"),
    input="tokens",
    protocol="glmstore",
    citation="Tang et al. 2025, Genome Biology 26:203",
)
_DEFAULTS: dict[str, Any] = {
    "learning_rate": 1e-4,
    "width": 1.0,
    "reduce": None,
    "dropout": 0.2,
    "weight_decay": 0.0,
    "batch_size": 128,
    "precision": "auto",
}


def search_space(trial: optuna.Trial) -> dict[str, Any]:
    """Draw learning rate, width, dropout of the convolutions and (decoupled) weight decay."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True),
        "width": trial.suggest_categorical("width", [0.5, 1.0, 2.0]),
        "dropout": trial.suggest_float("dropout", 0.0, 0.5),
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

    Architecture, loss and schedule are the paper's, and labels are standardised. ``reduce`` says whether
    batch norm and the 1x1 convolution stand before the rest; None leaves them out on features of 4 channels
    (one-hot), as the paper does, and puts them before any others. ``precision`` 'auto' trains in bfloat16
    where the hardware has it; validation and prediction are float32 always. Shorter sequences are padded
    with zeros, which the network sees.

    Raises
    ------
    HeadError
        If the data do not suit the head, there are too few tokens to pool, or the training diverges.
    """
    data = checked(data, _SPEC)
    choices = merged(_SPEC, _DEFAULTS, hyperparameters)
    _, tokens, dim = data.x_train.shape
    if choices["reduce"] is None:
        choices["reduce"] = dim != NUCLEOTIDES

    from glmstore.heads.neural.probe import fit_network

    architecture = {"tokens": tokens, "dim": dim, **{k: choices[k] for k in ("width", "reduce", "dropout")}}
    return fit_network("cnn", architecture, data, choices, seed=seed, max_epochs=max_epochs, report=report)


CNN = Head(_SPEC, fit, search_space, _DEFAULTS)
