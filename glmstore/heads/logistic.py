"""Logistic regression over a path of penalties."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from glmstore.heads.base import FitData, Fitted, Head, HeadSpec, Report
from glmstore.heads.checks import checked, merged
from glmstore.heads.linear import LinearProbe, Moments, deviance_explained, gram

PATH = np.logspace(-5, 2, 8)
"""Inverse penalties C on standardised features, in scikit-learn's unit."""

_WELL_CONDITIONED = 1e3
_WIDEST_HESSIAN = 4096
_SPEC = HeadSpec(
    name="logistic",
    summary="Logistic regression (L2) on standardised features; the best of 8 penalties on validation.",
    kinds=("binary",),
    input="vector",
    protocol="glmstore",
    stochastic=False,
    citation="scikit-learn, Pedregosa et al. 2011, JMLR 12:2825",
)
_DEFAULTS: dict[str, Any] = {"C": None}


def _solver(eigenvalues: np.ndarray, c: float) -> str:
    """Choose by the condition number of the penalised problem.

    lbfgs is several times faster on a well-conditioned one; on an ill-conditioned one (raw embeddings, weak
    penalty) it takes hundreds of steps or stops early, where Newton needs five.
    """
    if len(eigenvalues) > _WIDEST_HESSIAN:
        return "lbfgs"
    largest, smallest = eigenvalues[-1] / 4 + 1 / c, max(eigenvalues[0], 0.0) / 4 + 1 / c
    return "lbfgs" if largest / smallest < _WELL_CONDITIONED else "newton-cholesky"


def _log_loss(y: np.ndarray, probability: np.ndarray) -> float:
    from sklearn.metrics import log_loss

    return float(log_loss(y, probability, labels=[0.0, 1.0]))


def _train(z: np.ndarray, y: np.ndarray, c: float, solver: str) -> tuple[np.ndarray, float, dict[str, Any]]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=c, solver=solver, max_iter=2000, tol=1e-6)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(z, y)
    converged = not any(issubclass(w.category, ConvergenceWarning) for w in caught)
    chosen = {"C": c, "solver": solver, "converged": converged}
    return model.coef_[0].astype(np.float64), float(model.intercept_[0]), chosen


def fit(
    data: FitData,
    *,
    seed: int,
    hyperparameters: Mapping[str, Any] | None = None,
    max_epochs: int | None = None,
    report: Report | None = None,
) -> Fitted:
    """Train under every penalty and keep the one with the lowest log loss on validation.

    `seed`, `max_epochs` and `report` are part of every head's signature and change nothing here. The
    hyperparameter ``C`` fixes the penalty instead.

    Raises
    ------
    HeadError
        If the data do not suit the head.
    """
    del seed, max_epochs, report
    data = checked(data, _SPEC)
    c = merged(_SPEC, _DEFAULTS, hyperparameters)["C"]
    moments = Moments.of(data.x_train)
    eigenvalues = np.zeros(data.x_train.shape[1])
    if len(eigenvalues) <= _WIDEST_HESSIAN:
        eigenvalues = np.linalg.eigvalsh(gram(data.x_train, data.y_train[:, None], moments)[0])
    z = moments.standardise(data.x_train)
    candidates = []
    for value in PATH.tolist() if c is None else [float(c)]:
        weights, bias, chosen = _train(z, data.y_train, value, _solver(eigenvalues, value))
        coefficients = weights / moments.scale
        probe = LinearProbe("logistic", coefficients, bias - float(moments.mean @ coefficients), "logit")
        candidates.append((_log_loss(data.y_valid, probe.predict(data.x_valid)), probe, chosen))
    loss, probe, chosen = min(candidates, key=lambda candidate: candidate[0])
    score = float(deviance_explained(data.y_valid, loss, data.kind))
    return Fitted(probe, score, chosen | {"valid_log_loss": loss})


LOGISTIC = Head(_SPEC, fit, defaults=_DEFAULTS)
