"""What a metric is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from glmstore.benchmarks.base import LabelKind
from glmstore.errors import LabelError, ShapeError

Resampled = Callable[[np.ndarray], np.ndarray]
"""``resampled(weights)``: float64 [R, N], item draw counts -> float64 [R], NaN where undefined."""


@dataclass(frozen=True)
class Metric:
    """A number that says how well predictions fit labels.

    Attributes
    ----------
    name
        As in a BenchmarkSpec.
    kinds
        Label kinds it is defined for.
    higher_is_better
        Direction of ranking.
    fn
        ``fn(y, prediction)``, both float64 [N], by the library that defines it; NaN where undefined.
    resampler
        ``resampler(y, prediction)`` sorts once and returns a function of draw counts. Its value equals `fn`
        on the data with every item repeated as often as it was drawn.
    """

    name: str
    kinds: tuple[LabelKind, ...]
    higher_is_better: bool
    fn: Callable[[np.ndarray, np.ndarray], float]
    resampler: Callable[[np.ndarray, np.ndarray], Resampled]

    def __call__(self, y: np.ndarray, prediction: np.ndarray) -> float:
        """Return the metric of N labels and predictions, NaN where they do not define it.

        Raises
        ------
        ShapeError
            If the two are not vectors of one length.
        LabelError
            If a value is not finite, or the metric is for binary labels only and a label is neither 0 nor 1.
        """
        return float(self.fn(*self.checked(y, prediction)))

    def checked(self, y: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both as float64 [N] after the checks of :meth:`__call__`."""
        y, prediction = np.asarray(y, np.float64), np.asarray(prediction, np.float64)
        if y.ndim != 1 or y.shape != prediction.shape:
            raise ShapeError(
                f"{self.name} takes labels and predictions as vectors of one length; "
                f"these are {list(y.shape)} and {list(prediction.shape)}."
            )
        for what, values in (("label", y), ("prediction", prediction)):
            bad = np.flatnonzero(~np.isfinite(values))
            if len(bad):
                raise LabelError(f"{self.name}: {what} {bad[0]} (0-based) of {len(y)} is not finite.")
        if self.kinds == ("binary",) and not np.isin(y, (0.0, 1.0)).all():
            raise LabelError(f"{self.name} needs labels of 0 and 1 only.")
        return y, prediction


def from_callable(fn: Callable[[np.ndarray, np.ndarray], float]) -> Metric:
    """Return a metric for any ``fn(y, prediction) -> float``, resampled item by item."""

    def resampler(y: np.ndarray, prediction: np.ndarray) -> Resampled:
        def values(weights: np.ndarray) -> np.ndarray:
            drawn = (np.repeat(np.arange(len(y)), row.astype(np.intp)) for row in weights)
            return np.array([fn(y[i], prediction[i]) for i in drawn])

        return values

    name = getattr(fn, "__name__", "metric")
    return Metric(name, ("regression", "binary", "variant_effect"), True, fn, resampler)


def is_constant(x: np.ndarray) -> bool:
    """Return whether a vector varies by no more than rounding."""
    return len(x) < 2 or bool(np.ptp(x) <= 1e-12 * np.abs(x).max())
