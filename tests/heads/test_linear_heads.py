"""Ridge and logistic regression against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from glmstore.heads import HEADS
from glmstore.heads.base import FitData
from glmstore.heads.linear import LinearProbe
from glmstore.heads.logistic import _solver
from glmstore.heads.ridge import ALPHAS, ridge_path


def regression(n: int, dim: int, dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(n, dim)) @ rng.normal(size=(dim, dim)) + 5).astype(dtype)
    return x, x[:, :3].astype(float).sum(axis=1) + rng.normal(size=n) * 4


@pytest.mark.parametrize(("n", "dim"), [(300, 20), (60, 90)], ids=["more rows", "more features"])
@pytest.mark.parametrize("targets", [1, 3])
def test_the_whole_ridge_path_equals_a_loop_of_sklearn_fits(n: int, dim: int, targets: int) -> None:
    x, y = regression(n + 50, dim)
    y = y[:, None] * np.arange(1, targets + 1)
    mean, scale = x[:n].astype(float).mean(axis=0), x[:n].astype(float).std(axis=0)
    z = (x - mean) / scale
    path = ridge_path(x[:n], y[:n], ALPHAS)
    expected = [
        np.square(Ridge(alpha=a).fit(z[:n], y[:n]).predict(z[n:]).reshape(50, -1) - y[n:]).mean(axis=0)
        for a in ALPHAS
    ]
    assert path.mse(x[n:], y[n:]).shape == (25, targets)
    np.testing.assert_allclose(path.mse(x[n:], y[n:]), expected, rtol=1e-6, atol=1e-5)


def test_ridge_takes_the_penalty_that_is_best_on_validation_or_the_one_it_is_told() -> None:
    x, y = regression(80, 60)
    data = FitData(x[:60], y[:60], x[60:], y[60:], "regression")
    chosen = HEADS["ridge"].fit(data, seed=0)
    every = [
        HEADS["ridge"].fit(data, seed=0, hyperparameters={"alpha": a}).chosen["valid_mse"] for a in ALPHAS
    ]
    assert chosen.chosen["valid_mse"] == pytest.approx(min(every))
    assert chosen.chosen["alpha"] == pytest.approx(ALPHAS[int(np.argmin(every))])


def test_constant_columns_and_half_precision_do_no_harm() -> None:
    x, y = regression(400, 30, np.float16)
    x[:, 4] = 7
    data = FitData(x[:300], y[:300], x[300:], y[300:], "regression")
    probe = HEADS["ridge"].fit(data, seed=0).probe
    assert isinstance(probe, LinearProbe)
    assert abs(probe.coefficients[4]) < 1e-6
    assert np.corrcoef(probe.predict(x[300:]), y[300:])[0, 1] > 0.8


def test_one_hot_tokens_are_flattened_for_a_linear_head() -> None:
    rng = np.random.default_rng(0)
    x = np.eye(4, dtype=np.uint8)[rng.integers(0, 4, (400, 10))]
    y = 2.0 * x[:, 3, 2] - x[:, 7, 0]
    data = FitData(x[:300], y[:300], x[300:], y[300:], "regression")
    probe = HEADS["ridge"].fit(data, seed=0).probe
    np.testing.assert_allclose(probe.predict(x[300:]), y[300:], atol=1e-3)


def test_logistic_equals_sklearn_on_standardised_features() -> None:
    x, score = regression(500, 15)
    y = (score > np.median(score)).astype(float)
    data = FitData(x[:400], y[:400], x[400:], y[400:], "binary")
    fitted = HEADS["logistic"].fit(data, seed=0, hyperparameters={"C": 0.1})
    mean, scale = x[:400].astype(float).mean(axis=0), x[:400].astype(float).std(axis=0)
    reference = LogisticRegression(C=0.1, tol=1e-8, max_iter=5000).fit((x[:400] - mean) / scale, y[:400])
    expected = reference.predict_proba((x[400:] - mean) / scale)[:, 1]
    np.testing.assert_allclose(fitted.probe.predict(x[400:]), expected, atol=1e-4)
    assert fitted.chosen["converged"]


def test_logistic_takes_newton_steps_only_where_the_problem_is_ill_conditioned_and_small_enough() -> None:
    flat, steep = np.full(100, 1000.0), np.geomspace(1e-2, 1e6, 100)
    assert _solver(flat, 100.0) == "lbfgs"
    assert _solver(steep, 100.0) == "newton-cholesky"
    assert _solver(steep, 1e-5) == "lbfgs"  # the penalty alone conditions it
    assert _solver(np.zeros(5000), 100.0) == "lbfgs"
