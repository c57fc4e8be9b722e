"""Ridge over a path of 25 penalties, against a loop of scikit-learn fits."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from glmstore.heads.ridge import ALPHAS, ridge_path
from infra.bench.harness import BenchRow, at_least, interleaved

ROWS, FEATURES, VALID = 20_000, 1024, 2_000


def _data() -> tuple[np.ndarray, np.ndarray]:
    """Return float32 [N, D] correlated as embeddings are, and float64 [N]."""
    rng = np.random.default_rng(0)
    n = ROWS + VALID
    factors = rng.normal(size=(n, 64)).astype(np.float32)
    x = factors @ rng.normal(size=(64, FEATURES)).astype(np.float32)
    x += rng.normal(scale=2.0, size=x.shape).astype(np.float32)
    return x, factors[:, 0] + rng.normal(size=n)


def _ours(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    path = ridge_path(x[:ROWS], y[:ROWS, None], ALPHAS)
    return path.mse(x[ROWS:], y[ROWS:, None])[:, 0]


def _sklearn(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    scaler = StandardScaler().fit(x[:ROWS])
    train, valid = scaler.transform(x[:ROWS]), scaler.transform(x[ROWS:])
    fits = (Ridge(alpha=alpha).fit(train, y[:ROWS]) for alpha in ALPHAS)
    return np.array([np.mean((fit.predict(valid) - y[ROWS:]) ** 2) for fit in fits])


def measure() -> list[BenchRow]:
    """Return the ratio of CPU times, and the largest difference between the validation errors."""
    x, y = _data()
    double = x.astype(np.float64)
    # One thread: on a busy machine, threads of a BLAS that wait for each other burn CPU time too.
    with threadpool_limits(1):
        seconds = interleaved({"ours": lambda: _ours(x, y), "sklearn": lambda: _sklearn(double, y)}, rounds=3)
    gap = float(np.abs(_ours(x, y) - _sklearn(double, y)).max())
    return [
        at_least(
            "ridge, 25 penalties, 20k x 1024: loop of sklearn fits / ours",
            seconds["sklearn"] / seconds["ours"],
            10,
            f"CPU time on one thread, both in float64: {seconds['sklearn']:.1f} s / {seconds['ours']:.1f} s",
        ),
        BenchRow(
            "ridge: largest gap of validation MSE to sklearn's",
            gap,
            "MSE",
            "<= 1e-5",
            gap <= 1e-5,
            "all penalties",
        ),
    ]
