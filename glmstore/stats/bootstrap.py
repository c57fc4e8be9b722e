"""Percentile bootstrap over test clusters, initialisation seeds and probe seeds.

A resample draws clusters with replacement, and within it, for every draw of an initialisation (a twin), probe
seeds with replacement. Each metric is computed from how often every item was drawn, so nothing is sorted or
copied again, and the result is exactly the metric of the resampled items.

With S seeds, drawing seeds with replacement shows (S - 1) / S of the variance between seeds; with one seed it
shows none, and the interval speaks of the test items only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from glmstore.errors import ShapeError
from glmstore.metrics import Metric, get_metric
from glmstore.metrics.base import from_callable

MetricLike: TypeAlias = str | Metric | Callable[[np.ndarray, np.ndarray], float]
Predictions: TypeAlias = np.ndarray | Sequence[np.ndarray]
"""[N], [S, N] (probe seeds), or one [S, N] for every initialisation seed."""

_BLOCK = 1 << 21  # weights held at once: 16 MiB
_MOST_UNDEFINED = 0.1


class Interval(NamedTuple):
    """A value with its confidence interval.

    Attributes
    ----------
    value
        Metric on all items, mean over the seeds; NaN where undefined.
    low, high
        Percentile bounds; NaN where the value is, where there is one cluster only, or where more than a tenth
        of the resamples leave the metric undefined.
    """

    value: float
    low: float
    high: float


def interval(
    metric: MetricLike,
    y: np.ndarray,
    prediction: Predictions,
    clusters: Sequence[str] | np.ndarray,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return a metric and its interval.

    Parameters
    ----------
    metric
        Name in METRICS, a Metric, or any function of (y, prediction), which is resampled more slowly.
    y
        float64 [N], labels.
    prediction
        [N]; [S, N] for S probe seeds; or a list of [S, N], one an initialisation. The value is the mean over
        initialisations of the mean over probe seeds of the metric.
    clusters
        [N], items with equal entries are drawn together.
    n_resamples, seed, level
        Resamples, seed of the draws, and coverage of the interval.

    Raises
    ------
    ShapeError
        If lengths do not agree or there is nothing to resample.
    LabelError
        If a value is not finite or does not suit the metric.
    """
    (run,), codes = _prepared(metric, y, [prediction], clusters)
    item_rng, (seed_rng,) = _generators(seed, 1)
    return _percentile(run.value, run.resampled(item_rng, seed_rng, codes, n_resamples), codes, level)


def paired_difference(
    metric: MetricLike,
    y: np.ndarray,
    prediction_a: Predictions,
    prediction_b: Predictions,
    clusters: Sequence[str] | np.ndarray,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return metric(a) - metric(b) with its interval, both on the same resampled clusters.

    Seeds of the two are drawn independently: seed 3 of one model has nothing to do with seed 3 of another.
    Parameters and errors as in :func:`interval`.
    """
    (a, b), codes = _prepared(metric, y, [prediction_a, prediction_b], clusters)
    item_rng, (rng_a, rng_b) = _generators(seed, 2)
    state = item_rng.bit_generator.state
    resampled_a = a.resampled(item_rng, rng_a, codes, n_resamples)
    item_rng.bit_generator.state = state
    resampled_b = b.resampled(item_rng, rng_b, codes, n_resamples)
    return _percentile(a.value - b.value, resampled_a - resampled_b, codes, level)


class _Run:
    """One model's predictions under one metric."""

    def __init__(self, metric: Metric, y: np.ndarray, prediction: Predictions) -> None:
        self.twins = [np.atleast_2d(np.asarray(p, np.float64)) for p in _as_twins(prediction)]
        checked = [[metric.checked(y, row) for row in twin] for twin in self.twins]
        self.value = float(np.mean([np.mean([metric.fn(*pair) for pair in twin]) for twin in checked]))
        self._metrics = [[metric.resampler(*pair) for pair in twin] for twin in checked]

    def resampled(
        self, item_rng: np.random.Generator, seed_rng: np.random.Generator, codes: np.ndarray, n: int
    ) -> np.ndarray:
        """Return float64 [n]: the metric under each resample of items, initialisations and seeds."""
        seeds = np.array([len(twin) for twin in self._metrics])
        table = np.full((n, len(seeds), seeds.max()), np.nan)
        for rows, weights in _draws(item_rng, codes, n):
            for t, twin in enumerate(self._metrics):
                for s, values in enumerate(twin):
                    table[rows, t, s] = values(weights)
        twins = seed_rng.integers(len(seeds), size=(n, len(seeds)))
        of_twin = seeds[twins]
        drawn = seed_rng.random((n, len(seeds), seeds.max())) * of_twin[:, :, None]
        found = table[np.arange(n)[:, None, None], twins[:, :, None], drawn.astype(np.intp)]
        used = np.arange(seeds.max()) < of_twin[:, :, None]
        means = np.where(used, found, 0.0).sum(axis=2) / of_twin
        return np.asarray(means.mean(axis=1))


def _as_twins(prediction: Predictions) -> Sequence[np.ndarray]:
    if isinstance(prediction, np.ndarray):
        return [prediction]
    if not len(prediction):
        raise ShapeError("there are no predictions to resample.")
    return [np.asarray(prediction)] if np.ndim(prediction[0]) == 0 else prediction


def _prepared(
    metric: MetricLike, y: np.ndarray, predictions: list[Predictions], clusters: Sequence[str] | np.ndarray
) -> tuple[list[_Run], np.ndarray]:
    if isinstance(metric, str):
        metric = get_metric(metric)
    elif not isinstance(metric, Metric):
        metric = from_callable(metric)
    y = np.asarray(y, np.float64)
    if not len(y) or len(y) != len(clusters):
        raise ShapeError(
            f"{metric.name}: {len(y)} labels and {len(clusters)} cluster names; give as many, and some."
        )
    codes = np.unique(np.asarray(clusters), return_inverse=True)[1]
    return [_Run(metric, y, p) for p in predictions], codes


def _generators(seed: int, n: int) -> tuple[np.random.Generator, list[np.random.Generator]]:
    item, *seeds = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(1 + n))
    return item, seeds


def _draws(rng: np.random.Generator, codes: np.ndarray, n: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield blocks of resamples as float64 [R, N]: how often each item is drawn."""
    n_clusters = int(codes.max()) + 1
    step = max(1, _BLOCK // max(len(codes), n_clusters))
    for start in range(0, n, step):
        rows = min(step, n - start)
        drawn = rng.integers(n_clusters, size=(rows, n_clusters))
        drawn += np.arange(rows)[:, None] * n_clusters
        counts = np.bincount(drawn.ravel(), minlength=rows * n_clusters).reshape(rows, n_clusters)
        yield slice(start, start + rows), counts.astype(np.float64)[:, codes]


def _percentile(value: float, resampled: np.ndarray, codes: np.ndarray, level: float) -> Interval:
    defined = resampled[np.isfinite(resampled)]
    too_few = len(defined) < (1 - _MOST_UNDEFINED) * len(resampled)
    if np.isnan(value) or too_few or not len(defined) or codes.max() == 0:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))
