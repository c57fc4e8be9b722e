"""Metrics equal their libraries, also on resampled data, and say NaN where they are not defined."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from glmstore.errors import LabelError, ShapeError, UnknownNameError
from glmstore.metrics import METRICS, Metric, get_metric

RNG = np.random.default_rng(0)
N = 200
Y = RNG.normal(size=N)
P = Y + RNG.normal(size=N)
LABEL = (Y > 0.3).astype(float)
PROBABILITY = 1 / (1 + np.exp(-P))


def suited(metric: Metric) -> tuple[np.ndarray, np.ndarray]:
    return (LABEL, PROBABILITY) if metric.kinds == ("binary",) else (Y, P)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pearson_r", stats.pearsonr(Y, P).statistic),
        ("spearman_rho", stats.spearmanr(Y, P).statistic),
        ("r2", sk.r2_score(Y, P)),
        ("auroc", sk.roc_auc_score(LABEL, PROBABILITY)),
        ("auprc", sk.average_precision_score(LABEL, PROBABILITY)),
        ("mcc", sk.matthews_corrcoef(LABEL, PROBABILITY >= 0.5)),
    ],
)
def test_a_metric_is_what_its_library_computes(name: str, expected: float) -> None:
    assert METRICS[name](*suited(METRICS[name])) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS.values(), ids=str)
@pytest.mark.parametrize("ties", [False, True])
def test_a_resampled_metric_is_the_metric_of_the_repeated_items(metric: Metric, ties: bool) -> None:
    y, p = suited(metric)
    if ties:
        p = np.round(p, 1)
        y = y if metric.kinds == ("binary",) else np.round(y, 1)
    weights = np.random.default_rng(1).integers(0, 4, (20, N)).astype(float)
    drawn = [np.repeat(np.arange(N), row.astype(int)) for row in weights]
    expected = [metric(y[i], p[i]) for i in drawn]
    np.testing.assert_allclose(metric.resampler(y, p)(weights), expected, atol=1e-12)


@pytest.mark.parametrize("name", ["pearson_r", "spearman_rho", "r2"])
def test_constant_labels_leave_regression_metrics_undefined(name: str) -> None:
    assert np.isnan(METRICS[name](np.full(N, 0.1), P))
    assert np.isnan(METRICS[name].resampler(np.full(N, 0.1), P)(np.ones((3, N)))).all()


@pytest.mark.parametrize("name", ["pearson_r", "spearman_rho"])
def test_constant_predictions_leave_correlations_undefined_and_r2_negative_or_zero(name: str) -> None:
    assert np.isnan(METRICS[name](Y, np.full(N, 0.3)))
    assert METRICS["r2"](Y, np.full(N, Y.mean())) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("name", ["auroc", "auprc", "mcc"])
def test_labels_of_one_class_leave_binary_metrics_undefined(name: str) -> None:
    assert np.isnan(METRICS[name](np.ones(N), PROBABILITY))
    assert np.isnan(METRICS[name].resampler(np.ones(N), PROBABILITY)(np.ones((3, N)))).all()


def test_constant_predictions_of_a_class_have_their_documented_values() -> None:
    constant = np.full(N, 0.7)
    assert METRICS["auroc"](LABEL, constant) == 0.5
    assert METRICS["auprc"](LABEL, constant) == pytest.approx(LABEL.mean())
    assert METRICS["mcc"](LABEL, constant) == 0.0


def test_a_resample_that_draws_one_value_only_is_undefined_not_zero() -> None:
    weights = np.zeros((1, N))
    weights[0, 3] = N
    for metric in METRICS.values():
        assert np.isnan(metric.resampler(*suited(metric))(weights)).all(), metric.name


def test_mcc_calls_a_probability_of_exactly_one_half_positive() -> None:
    assert METRICS["mcc"](np.array([0.0, 1.0]), np.array([0.49, 0.5])) == 1.0


def test_what_cannot_be_scored_is_refused_by_name() -> None:
    with pytest.raises(ShapeError, match="one length"):
        METRICS["r2"](Y, P[:-1])
    with pytest.raises(LabelError, match=r"prediction 3 .* not finite"):
        METRICS["r2"](Y, np.where(np.arange(N) == 3, np.nan, P))
    with pytest.raises(LabelError, match="0 and 1"):
        METRICS["auroc"](Y, P)
    with pytest.raises(UnknownNameError, match="pearson_r"):
        get_metric("pearson")
