"""From a benchmark and a view in the store to the arrays a head reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from glmstore.errors import HeadError
from glmstore.heads.base import FitData

if TYPE_CHECKING:
    from glmstore.store import FeatureStore
    from glmstore.views import FeatureView


class HeldOut(NamedTuple):
    """What a fitted probe is judged on.

    Attributes
    ----------
    items
        The test rows of the benchmark.
    x
        Their features, [N, D] or [N, T, D] with the T of the training features.
    y
        float64 [N].
    """

    items: pl.DataFrame
    x: np.ndarray
    y: np.ndarray


def fit_data(
    store: FeatureStore, benchmark: str, view: FeatureView, *, max_train: int | None = None
) -> FitData:
    """Return features and labels of the training and validation items; those of test items are not read.

    Parameters
    ----------
    store
        The store, or the store as of a snapshot.
    benchmark, view
        What is read.
    max_train
        Keep the training items with the smallest keys (a hash of the sequence): the same ones in every run
        and under every model.

    Raises
    ------
    HeadError
        If the benchmark is not one to train on.
    MissingFeaturesError
        If the view lacks an item.
    """
    kind = store.benchmark_spec(benchmark).label_kind
    if kind == "variant_effect":
        raise HeadError(f"{benchmark} is scored zero-shot; it has no training items for a head.")
    items = store.benchmark_items(benchmark)
    train, valid = _part(items, benchmark, "train"), _part(items, benchmark, "valid")
    if max_train is not None and max_train < len(train):
        kept = train.sort("seq_key", "item_id").head(max_train)["item_id"]
        train = train.filter(pl.col("item_id").is_in(kept.implode()))
    x_train, x_valid = _features(store, view, train), _features(store, view, valid)
    tokens = max(x_train.shape[1], x_valid.shape[1])
    return FitData(_padded(x_train, tokens), _labels(train), _padded(x_valid, tokens), _labels(valid), kind)


def held_out(store: FeatureStore, benchmark: str, view: FeatureView, fitted_on: FitData) -> HeldOut:
    """Return the test items with features of the shape that a probe was fitted on.

    Raises
    ------
    HeadError
        If there are no test items, or one has more tokens than any item the probe was fitted on.
    MissingFeaturesError
        If the view lacks an item.
    """
    items = _part(store.benchmark_items(benchmark), benchmark, "test")
    x, tokens = _features(store, view, items), fitted_on.x_train.shape[1]
    if x.ndim == 3 and x.shape[1] > tokens:
        raise HeadError(
            f"{benchmark}: a test item has {x.shape[1]} tokens, and no training or validation item more than "
            f"{tokens}; use a pooled view, or a split that is alike in length."
        )
    return HeldOut(items, _padded(x, tokens), _labels(items))


def _part(items: pl.DataFrame, benchmark: str, split: str) -> pl.DataFrame:
    part = items.filter(pl.col("split") == split)
    if part.is_empty():
        raise HeadError(
            f"{benchmark} has no items in its {split} split; a probe needs train, valid and test."
        )
    return part


def _labels(part: pl.DataFrame) -> np.ndarray:
    return part["label"].to_numpy().astype(np.float64)


def _features(store: FeatureStore, view: FeatureView, part: pl.DataFrame) -> np.ndarray:
    return store.read(view, part["seq_key"].to_list()).values


def _padded(x: np.ndarray, tokens: int) -> np.ndarray:
    if x.ndim != 3 or x.shape[1] == tokens:
        return x
    return np.pad(x, ((0, 0), (0, tokens - x.shape[1]), (0, 0)))
