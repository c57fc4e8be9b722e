"""Metrics for labels 0 and 1 with predicted probabilities: auroc, auprc, mcc."""

from __future__ import annotations

import numpy as np

from glmstore.metrics.base import Metric, Resampled
from glmstore.metrics.ranks import Ties

THRESHOLD = 0.5
"""Probability from which mcc counts a prediction as 1; fixed, so that nothing is chosen on test items."""


def _one_class(y: np.ndarray) -> bool:
    return len(np.unique(y)) < 2


def _auroc(y: np.ndarray, prediction: np.ndarray) -> float:
    """sklearn.metrics.roc_auc_score; constant predictions give 0.5, labels of one class NaN."""
    from sklearn.metrics import roc_auc_score

    return float("nan") if _one_class(y) else float(roc_auc_score(y, prediction))


def _auprc(y: np.ndarray, prediction: np.ndarray) -> float:
    """sklearn.metrics.average_precision_score; constant predictions give the prevalence, one class NaN."""
    from sklearn.metrics import average_precision_score

    return float("nan") if _one_class(y) else float(average_precision_score(y, prediction))


def _mcc(y: np.ndarray, prediction: np.ndarray) -> float:
    """sklearn.metrics.matthews_corrcoef of ``prediction >= 0.5``; labels of one class give NaN.

    Predictions that all fall on one side of the threshold give 0, the convention of the field for a
    classifier that tells nothing apart.
    """
    from sklearn.metrics import matthews_corrcoef

    return float("nan") if _one_class(y) else float(matthews_corrcoef(y, prediction >= THRESHOLD))


def _resample_auroc(y: np.ndarray, prediction: np.ndarray) -> Resampled:
    ties = Ties(prediction)

    def values(weights: np.ndarray) -> np.ndarray:
        positives = ties.sums(weights * y)
        negatives = ties.sums(weights * (1.0 - y))
        below = np.cumsum(negatives, axis=1)
        pairs = below[:, -1] * positives.sum(axis=1)
        below -= negatives / 2  # a tie counts half
        won = np.einsum("ij,ij->i", positives, below)
        return np.asarray(np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0))

    return values


def _resample_auprc(y: np.ndarray, prediction: np.ndarray) -> Resampled:
    ties = Ties(-prediction)

    def values(weights: np.ndarray) -> np.ndarray:
        positives = ties.sums(weights * y)
        called = np.cumsum(ties.sums(weights), axis=1)
        found = np.cumsum(positives, axis=1)
        precision = np.divide(found, called, out=np.zeros_like(called), where=called > 0)
        total = positives.sum(axis=1)
        both = (total > 0) & (total < called[:, -1])
        area = np.einsum("ij,ij->i", positives, precision)
        return np.asarray(np.divide(area, total, out=np.full(len(weights), np.nan), where=both))

    return values


def _resample_mcc(y: np.ndarray, prediction: np.ndarray) -> Resampled:
    called = (prediction >= THRESHOLD).astype(np.float64)
    terms = np.stack([np.ones_like(y), y, called, y * called], axis=1)

    def values(weights: np.ndarray) -> np.ndarray:
        n, positive, predicted, both = (weights @ terms).T
        covariance = n * both - positive * predicted
        spread = positive * (n - positive) * predicted * (n - predicted)
        coefficient = np.divide(covariance, np.sqrt(spread), out=np.zeros(len(weights)), where=spread > 0)
        return np.where((positive > 0) & (positive < n), coefficient, np.nan)

    return values


AUROC = Metric("auroc", ("binary",), True, _auroc, _resample_auroc)
AUPRC = Metric("auprc", ("binary",), True, _auprc, _resample_auprc)
MCC = Metric("mcc", ("binary",), True, _mcc, _resample_mcc)
