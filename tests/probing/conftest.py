"""A small benchmark in a store in memory or on disk, with features that hold its label."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from glmstore.benchmarks.base import BenchmarkData, BenchmarkSpec
from glmstore.models import get_model
from glmstore.store import FeatureStore
from glmstore.views import FeatureView, Provenance

N = 300
DIM = 6


def _spec(name: str, **changes: Any) -> BenchmarkSpec:
    known: dict[str, Any] = {
        "name": name,
        "title": name,
        "family": "test",
        "label_kind": "regression",
        "label": "a number",
        "metrics": ("pearson_r", "r2"),
        "split": "by position",
        "sequence_length": 30,
        "organism": "Homo sapiens",
        "sources": (),
        "citation": "none",
    }
    return BenchmarkSpec(**{**known, **changes})


def _items(binary: bool, n: int = N) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (n, 30))
    y = (codes == 2).sum(axis=1) + rng.normal(scale=0.5, size=n)
    return pl.DataFrame(
        {
            "item_id": [f"item{i}" for i in range(n)],
            "sequence": ["".join("ACGT"[c] for c in row) for row in codes],
            "label": (y > np.median(y)).astype(float) if binary else y,
            "split": ["train"] * (n - 120) + ["valid"] * 60 + ["test"] * 60,
            "cluster": [f"locus{i // 3}" for i in range(n)],
        }
    )


def _fill(store: FeatureStore, view: FeatureView, items: pl.DataFrame) -> None:
    sequences = items["sequence"].to_list()
    keys = store.add_sequences(sequences)
    one_hot = np.array([[[c == b for b in "ACGT"] for c in s] for s in sequences])
    dim = 4 if view.is_token_level else DIM
    store.declare(
        view,
        Provenance(
            model_spec={"name": view.model},
            weights_sha256=None,
            tokenizer_sha256=None,
            dim=dim,
            code_version="0",
            precision="float32",
        ),
    )
    if view.is_token_level:
        store.write(view, keys, one_hot.astype(np.uint8), np.full(len(keys), 30, np.int32))
        return
    counts = one_hot.sum(axis=1).astype(np.float32)
    noise = np.random.default_rng(1).normal(size=(len(keys), DIM - 4)).astype(np.float32)
    store.write(view, keys, np.hstack([counts, noise]))


@pytest.fixture
def pooled() -> FeatureView:
    return get_model("kmer1").spec.view(dtype="float32")


@pytest.fixture
def tokens() -> FeatureView:
    return get_model("onehot").spec.view(pooling="tokens", dtype="uint8")


@pytest.fixture
def make_spec() -> Callable[..., BenchmarkSpec]:
    return _spec


@pytest.fixture
def items() -> pl.DataFrame:
    return _items(binary=False)


@pytest.fixture
def filled(pooled: FeatureView, tokens: FeatureView) -> Callable[[str | Path], FeatureStore]:
    """Return a function that opens a store and fills it with two benchmarks and two views."""

    def fill(uri: str | Path) -> FeatureStore:
        store = FeatureStore.open(uri)
        store.register_benchmark(_spec("counts"), BenchmarkData(_items(binary=False)))
        metrics = ("auroc", "auprc", "mcc")
        store.register_benchmark(
            _spec("classes", label_kind="binary", metrics=metrics), BenchmarkData(_items(binary=True))
        )
        for view in (pooled, tokens):
            _fill(store, view, _items(binary=False))
        return store

    return fill


@pytest.fixture
def store(filled: Callable[[str | Path], FeatureStore]) -> FeatureStore:
    return filled("memory://")
