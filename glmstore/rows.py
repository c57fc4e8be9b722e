"""From what a reader measured to the rows it stores, the same for adapters, scores and sites."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from glmstore import __version__
from glmstore.models.catalogue import get_model
from glmstore.results import Cell, ResultRow

if TYPE_CHECKING:
    from glmstore.stats.bootstrap import Interval

Overlap = Literal["none", "possible", "yes", "not applicable"]


def measured_row(
    cell: Cell,
    metric: str,
    measured: Interval,
    *,
    n: int,
    overlap: Overlap = "not applicable",
    details: Mapping[str, Any],
) -> ResultRow:
    """Return the row of one metric of a finished cell.

    Parameters
    ----------
    cell
        What was computed.
    metric
        Name of the metric.
    measured
        Its value and interval; NaN, where the metric is not defined, becomes an absent value.
    n
        Items scored.
    overlap
        Whether the model may have seen them in pretraining.
    details
        What JSON can hold; the digest of the items it was measured on goes with it.
    """
    value, low, high = (None if math.isnan(x) else x for x in measured)
    return ResultRow(
        cell_key=cell.key,
        model=cell.model,
        view=cell.view,
        benchmark=cell.benchmark,
        split=cell.split,
        head=cell.head,
        protocol=cell.protocol,
        metric=metric,
        value=value,
        ci_low=low,
        ci_high=high,
        n=n,
        seeds=len(cell.seeds),
        control=get_model(cell.model).spec.control,
        pretraining_overlap=overlap,
        details=json.dumps({"benchmark_digest": cell.benchmark_digest, **details}),
        code_version=__version__,
    )


def prediction_rows(cell: Cell, items: pl.DataFrame, prediction: np.ndarray) -> pl.DataFrame:
    """Return the predictions of a cell with the columns of PredictionRow.

    Parameters
    ----------
    cell
        Names the seeds.
    items
        Rows of a benchmark: item_id, seq_key, cluster, label.
    prediction
        float [S, N], one row a seed.
    """
    parts = [
        items.select(
            cell_key=pl.lit(cell.key),
            seed=pl.lit(seed, dtype=pl.Int64),
            item_id="item_id",
            seq_key="seq_key",
            cluster="cluster",
            label=pl.col("label").cast(pl.Float64),
            prediction=pl.Series(values, dtype=pl.Float64),
        )
        for seed, values in zip(cell.seeds, prediction, strict=True)
    ]
    return pl.concat(parts)
