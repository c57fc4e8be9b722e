"""Linear probes, and sums over training rows that never hold a second copy of the features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from glmstore.errors import HeadError
from glmstore.heads.checks import as_vectors

_BLOCK = 1 << 23  # numbers of float64 held at once: 64 MiB


@dataclass(frozen=True)
class LinearProbe:
    """A fitted linear model; the standardisation of features is folded into it.

    Attributes
    ----------
    head
        Name of the head that trained it.
    coefficients
        float64 [D].
    intercept
        In the label's unit, or log odds.
    link
        'identity' for numbers, 'logit' for labels 0 and 1.
    """

    head: str
    coefficients: np.ndarray
    intercept: float
    link: Literal["identity", "logit"] = "identity"

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return float64 [N] for features [N, D] or [N, T, D]; probabilities under the logit link.

        Raises
        ------
        HeadError
            If a row does not hold D numbers.
        """
        x = as_vectors(np.asarray(x))
        if x.ndim != 2 or x.shape[1] != len(self.coefficients):
            raise HeadError(
                f"this {self.head} probe reads {len(self.coefficients)} numbers a row, not "
                f"{list(x.shape[1:])}; use the view it was trained on."
            )
        score = np.empty(len(x))
        for rows in row_blocks(x):
            score[rows] = x[rows].astype(np.float64) @ self.coefficients
        score += self.intercept
        if self.link == "identity":
            return score
        from scipy.special import expit

        return np.asarray(expit(score))


class Moments(NamedTuple):
    """Column means and scales [D] of training features; the scale of a constant column is 1."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> Moments:
        """Return the moments of [N, D], summed in float64."""
        total = np.zeros(x.shape[1])
        for rows in row_blocks(x):
            total += x[rows].sum(axis=0, dtype=np.float64)
        mean = total / len(x)
        squares = np.zeros(x.shape[1])
        for rows in row_blocks(x):
            squares += np.square(x[rows] - mean).sum(axis=0)
        scale = np.sqrt(squares / len(x))
        return cls(mean, np.where(scale > 1e-9 * np.abs(mean), scale, 1.0))

    def standardise(self, x: np.ndarray) -> np.ndarray:
        """Return float64 of the same shape: zero mean and unit variance over the training rows."""
        z = x.astype(np.float64)
        z -= self.mean
        z /= self.scale
        return z


def row_blocks(x: np.ndarray) -> Iterator[slice]:
    """Yield slices over the rows of [N, D] that keep a float64 block small."""
    step = max(1, _BLOCK // max(1, x.shape[1]))
    for start in range(0, len(x), step):
        yield slice(start, min(start + step, len(x)))


def gram(x: np.ndarray, y: np.ndarray, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Return Z'Z, float64 [D, D], and Z'y, float64 [D, T], of the standardised features Z and y [N, T]."""
    products = np.zeros((x.shape[1], x.shape[1]))
    target = np.zeros((x.shape[1], y.shape[1]))
    for rows in row_blocks(x):
        z = moments.standardise(x[rows])
        products += z.T @ z
        target += z.T @ y[rows]
    return products, target


def deviance_explained(y: np.ndarray, loss: float | np.ndarray, kind: str) -> np.ndarray:
    """Return the score every head is chosen by: 1 - loss / loss of the best constant, on the same rows.

    Parameters
    ----------
    y
        float64 [N].
    loss
        Mean squared error for regression (the score is then R squared), mean log loss for binary labels (the
        score is then sklearn's d2_log_loss_score). Any shape.
    kind
        'regression' or 'binary'.
    """
    p = y.mean()
    constant = y.var() if kind == "regression" else -(p * np.log(p) + (1 - p) * np.log(1 - p))
    return np.asarray(1.0 - loss / constant)
