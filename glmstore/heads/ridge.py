"""Ridge regression: the whole path of penalties from one factorisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from glmstore.heads.base import FitData, Fitted, Head, HeadSpec, Report
from glmstore.heads.checks import checked, merged
from glmstore.heads.linear import LinearProbe, Moments, deviance_explained, gram, row_blocks

ALPHAS = np.logspace(-4, 8, 25)
"""Penalties on standardised features, in scikit-learn's unit (added to the diagonal of Z'Z)."""

_SPEC = HeadSpec(
    name="ridge",
    summary="Ridge regression on standardised features; the best of 25 penalties on validation.",
    kinds=("regression",),
    input="vector",
    protocol="glmstore",
    stochastic=False,
    citation="Hoerl & Kennard 1970, Technometrics 12:55",
)
_DEFAULTS: dict[str, Any] = {"alpha": None}


class RidgePath(NamedTuple):
    """Every solution of a path.

    Attributes
    ----------
    alphas
        float64 [A].
    coefficients
        float64 [A, D, T], on the features as they were given.
    intercepts
        float64 [A, T].
    """

    alphas: np.ndarray
    coefficients: np.ndarray
    intercepts: np.ndarray

    def mse(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return float64 [A, T]: the mean squared error of every solution on [N, D] and [N, T]."""
        n_alphas, dim, n_targets = self.coefficients.shape
        weights = self.coefficients.transpose(1, 0, 2).reshape(dim, -1)
        total = np.zeros((n_alphas, n_targets))
        for rows in row_blocks(x):
            predicted = (x[rows].astype(np.float64) @ weights).reshape(-1, n_alphas, n_targets)
            total += np.square(predicted + self.intercepts - y[rows, None, :]).sum(axis=0)
        return total / len(x)


def ridge_path(x: np.ndarray, y: np.ndarray, alphas: np.ndarray) -> RidgePath:
    """Solve min ||y - b - Zw||^2 + alpha ||w||^2 for every alpha and target at once, Z standardised.

    One eigendecomposition of Z'Z serves them all, or of ZZ' where there are fewer rows than features.

    Parameters
    ----------
    x
        [N, D], any number type.
    y
        float64 [N, T].
    alphas
        float64 [A], positive.
    """
    moments = Moments.of(x)
    mean_y = y.mean(axis=0)
    solve = _primal if len(x) >= x.shape[1] else _dual
    standardised = solve(x, y - mean_y, moments, alphas)
    coefficients = standardised / moments.scale[:, None]
    return RidgePath(alphas, coefficients, mean_y - np.einsum("d,adt->at", moments.mean, coefficients))


def _shrunk(vectors: np.ndarray, values: np.ndarray, target: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """Return [A, M, T]: (V diag(values) V' + alpha)^-1 target for every alpha."""
    rotated = vectors.T @ target
    scaled = rotated / (np.maximum(values, 0.0)[:, None] + alphas[:, None, None])
    return np.asarray(vectors @ scaled)


def _primal(x: np.ndarray, y: np.ndarray, moments: Moments, alphas: np.ndarray) -> np.ndarray:
    products, target = gram(x, y, moments)
    values, vectors = np.linalg.eigh(products)
    return _shrunk(vectors, values, target, alphas)


def _dual(x: np.ndarray, y: np.ndarray, moments: Moments, alphas: np.ndarray) -> np.ndarray:
    z = moments.standardise(x)
    values, vectors = np.linalg.eigh(z @ z.T)
    return np.asarray(z.T @ _shrunk(vectors, values, y, alphas))


def fit(
    data: FitData,
    *,
    seed: int,
    hyperparameters: Mapping[str, Any] | None = None,
    max_epochs: int | None = None,
    report: Report | None = None,
) -> Fitted:
    """Train on every penalty and keep the one with the lowest squared error on validation.

    `seed`, `max_epochs` and `report` are part of every head's signature and change nothing here. The
    hyperparameter ``alpha`` fixes the penalty instead.

    Raises
    ------
    HeadError
        If the data do not suit the head.
    """
    del seed, max_epochs, report
    data = checked(data, _SPEC)
    alpha = merged(_SPEC, _DEFAULTS, hyperparameters)["alpha"]
    path = ridge_path(
        data.x_train, data.y_train[:, None], ALPHAS if alpha is None else np.array([float(alpha)])
    )
    mse = path.mse(data.x_valid, data.y_valid[:, None])[:, 0]
    best = int(np.argmin(mse))
    probe = LinearProbe("ridge", path.coefficients[best, :, 0].copy(), float(path.intercepts[best, 0]))
    score = float(deviance_explained(data.y_valid, mse[best], data.kind))
    return Fitted(probe, score, {"alpha": float(path.alphas[best]), "valid_mse": float(mse[best])})


RIDGE = Head(_SPEC, fit, defaults=_DEFAULTS)
