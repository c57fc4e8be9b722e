"""The one frame in which every benchmark's rows come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from glmstore.benchmarks.base import SPLITS
from glmstore.errors import LabelError, TableError
from glmstore.sequences.normalise import seq_keys


def make_items(
    item_ids: Sequence[str],
    sequences: Sequence[str],
    labels: NDArray[np.float64],
    split: Sequence[str],
    clusters: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Return `BenchmarkData.items`, checked.

    Parameters
    ----------
    item_ids
        Unique names.
    sequences
        Normalised.
    labels
        float [N].
    split
        train, valid or test for each.
    clusters
        What is resampled together; the content key of the sequence when not given.

    Raises
    ------
    TableError
        If there are no rows, an id comes twice, or a part is none of train, valid, test.
    LabelError
        If a label is not finite; names the item.
    """
    if not len(item_ids):
        raise TableError("no row is left to make a benchmark of.")
    bad = np.flatnonzero(~np.isfinite(labels))
    if bad.size:
        raise LabelError(
            f"item {item_ids[int(bad[0])]!r} has the label {labels[bad[0]]}; labels must be finite."
        )
    unknown = set(split) - set(SPLITS)
    if unknown:
        raise TableError(f"{sorted(unknown)[0]!r} is no part of a split; parts are {', '.join(SPLITS)}.")
    items = pl.DataFrame(
        {
            "item_id": list(item_ids),
            "sequence": list(sequences),
            "label": np.asarray(labels, np.float64),
            "split": list(split),
            "cluster": list(clusters) if clusters is not None else seq_keys(sequences),
        }
    )
    twice = items["item_id"].filter(items["item_id"].is_duplicated())
    if len(twice):
        raise TableError(f"two items are called {twice[0]!r}; ids must be unique.")
    return items
