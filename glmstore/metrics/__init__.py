"""Metrics by name: their definitions, and how they are resampled fast.

Binary predictions are probabilities of the label 1. A metric that its data do not define (constant
predictions, labels of one class) is NaN, never 0 and never a warning; each metric says where that happens.
"""

from glmstore.errors import UnknownNameError
from glmstore.metrics.base import Metric
from glmstore.metrics.binary import AUPRC, AUROC, MCC
from glmstore.metrics.regression import PEARSON_R, PEARSON_R_ABS, R2, SPEARMAN_RHO

_ALL = (PEARSON_R, PEARSON_R_ABS, SPEARMAN_RHO, R2, AUROC, AUPRC, MCC)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def get_metric(name: str) -> Metric:
    """Return the metric called `name`.

    Raises
    ------
    UnknownNameError
        If there is none; suggests the nearest.
    """
    try:
        return METRICS[name]
    except KeyError:
        raise UnknownNameError("metric", name, METRICS) from None


__all__ = ["METRICS", "Metric", "get_metric"]
