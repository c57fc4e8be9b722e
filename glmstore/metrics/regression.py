"""Metrics for labels that are numbers: pearson_r, pearson_r_abs, spearman_rho, r2."""

from __future__ import annotations

import numpy as np

from glmstore.benchmarks.base import LabelKind
from glmstore.metrics.base import Metric, Resampled, is_constant
from glmstore.metrics.ranks import Ties

_KINDS: tuple[LabelKind, ...] = ("regression", "variant_effect", "binary")
_TINY = 1e-12  # of the variance of all items: a resample that varies less repeats one value


def _pearson_r(y: np.ndarray, prediction: np.ndarray) -> float:
    """scipy.stats.pearsonr; NaN if labels or predictions are constant."""
    from scipy.stats import pearsonr

    if is_constant(y) or is_constant(prediction):
        return float("nan")
    return float(pearsonr(y, prediction).statistic)


def _pearson_r_abs(y: np.ndarray, prediction: np.ndarray) -> float:
    """Pearson's r of the absolute values: whether a score knows the size of an effect, whatever its sign."""
    return _pearson_r(np.abs(y), np.abs(prediction))


def _spearman_rho(y: np.ndarray, prediction: np.ndarray) -> float:
    """scipy.stats.spearmanr (mid-ranks for ties); NaN if labels or predictions are constant."""
    from scipy.stats import spearmanr

    if is_constant(y) or is_constant(prediction):
        return float("nan")
    return float(spearmanr(y, prediction).statistic)


def _r2(y: np.ndarray, prediction: np.ndarray) -> float:
    """sklearn.metrics.r2_score against the mean of these labels; NaN if the labels are constant."""
    from sklearn.metrics import r2_score

    return float("nan") if is_constant(y) else float(r2_score(y, prediction))


def _undefined(weights: np.ndarray) -> np.ndarray:
    return np.full(len(weights), np.nan)


def _standard(x: np.ndarray) -> np.ndarray:
    return np.asarray((x - x.mean()) / x.std())


def _ratio(numerator: np.ndarray, denominator: np.ndarray, defined: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=defined))


def _correlation(
    n: np.ndarray, a: np.ndarray, b: np.ndarray, aa: np.ndarray, bb: np.ndarray, ab: np.ndarray
) -> np.ndarray:
    """Return Pearson's r from weighted sums of a, b, a^2, b^2 and ab, each [R]."""
    var_a, var_b = aa / n - (a / n) ** 2, bb / n - (b / n) ** 2
    covariance = ab / n - a * b / n**2
    scale = np.maximum(aa, bb) / n
    defined = (var_a > _TINY * scale) & (var_b > _TINY * scale)
    r = _ratio(covariance, np.sqrt(np.where(defined, var_a * var_b, 1.0)), defined)
    return np.asarray(np.clip(r, -1.0, 1.0))


def _resample_pearson(y: np.ndarray, prediction: np.ndarray) -> Resampled:
    if is_constant(y) or is_constant(prediction):
        return _undefined
    a, b = _standard(y), _standard(prediction)
    terms = np.stack([np.ones_like(a), a, b, a * a, b * b, a * b], axis=1)
    return lambda weights: _correlation(*(weights @ terms).T)


def _resample_pearson_abs(y: np.ndarray, prediction: np.ndarray) -> Resampled:
    return _resample_pearson(np.abs(y), np.abs(prediction))


def _resample_spearman(y: np.ndarray, prediction: np.ndarray) -> Resampled:
    if is_constant(y) or is_constant(prediction):
        return _undefined
    ties_y, ties_p = Ties(y), Ties(prediction)

    def values(weights: np.ndarray) -> np.ndarray:
        n = weights.sum(axis=1)
        # Mid-ranks, centred and scaled to order one so that the sums keep their digits.
        a = ties_y.mid_ranks(weights) / n[:, None] - 0.5
        b = ties_p.mid_ranks(weights) / n[:, None] - 0.5
        wa, wb = weights * a, weights * b
        dot = "ij,ij->i"
        return _correlation(
            n,
            wa.sum(axis=1),
            wb.sum(axis=1),
            np.einsum(dot, wa, a),
            np.einsum(dot, wb, b),
            np.einsum(dot, wa, b),
        )

    return values


def _resample_r2(y: np.ndarray, prediction: np.ndarray) -> Resampled:
    if is_constant(y):
        return _undefined
    a = _standard(y)
    residual = (y - prediction) / y.std()
    terms = np.stack([np.ones_like(a), a, a * a, residual**2], axis=1)

    def values(weights: np.ndarray) -> np.ndarray:
        n, s, ss, error = (weights @ terms).T
        variance = ss / n - (s / n) ** 2
        defined = variance > _TINY
        return 1.0 - _ratio(error / n, np.where(defined, variance, 1.0), defined)

    return values


PEARSON_R = Metric("pearson_r", _KINDS, True, _pearson_r, _resample_pearson)
PEARSON_R_ABS = Metric("pearson_r_abs", ("variant_effect",), True, _pearson_r_abs, _resample_pearson_abs)
SPEARMAN_RHO = Metric("spearman_rho", _KINDS, True, _spearman_rho, _resample_spearman)
R2 = Metric("r2", _KINDS, True, _r2, _resample_r2)
