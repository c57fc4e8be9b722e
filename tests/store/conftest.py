"""What the tests of the store share: views, their origin, sequences, and stores in memory and on disk."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from glmstore.results import ResultRow
from glmstore.store import FeatureStore
from glmstore.views import FeatureView, Provenance


@pytest.fixture
def store() -> FeatureStore:
    return FeatureStore.open("memory://")


@pytest.fixture(params=["memory", "directory"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureStore:
    return FeatureStore.open("memory://" if request.param == "memory" else tmp_path / "store")


@pytest.fixture
def disk_store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.open(tmp_path / "store")


def _view(**changes: Any) -> FeatureView:
    return FeatureView(**{"model": "toy", "revision": "r1", "layer": 1, "pooling": "mean", **changes})


def _origin(dim: int = 8, **changes: Any) -> Provenance:
    known = {"weights_sha256": "a" * 64, "tokenizer_sha256": "b" * 64, "code_version": "0.1.0"}
    return Provenance(
        **{"model_spec": {"name": "toy"}, "dim": dim, "precision": "float32", **known, **changes}
    )


def _sequences(n: int, seed: int = 0, length: int = 40) -> list[str]:
    letters = np.random.default_rng(seed).integers(0, 4, (n, length))
    return ["".join("ACGT"[i] for i in row) for row in letters]


def _vectors(n: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float16)


def _row(cell_key: str, metric: str = "pearson_r", value: float | None = 0.5, **changes: Any) -> ResultRow:
    fields: dict[str, Any] = {
        **dict.fromkeys(("model", "view", "benchmark", "split", "head", "protocol"), "x"),
        "ci_low": 0.4,
        "ci_high": 0.6,
        "n": 10,
        "seeds": 1,
    }
    return ResultRow(**{**fields, "cell_key": cell_key, "metric": metric, "value": value, **changes})


@pytest.fixture
def make_view() -> Callable[..., FeatureView]:
    return _view


@pytest.fixture
def origin() -> Callable[..., Provenance]:
    return _origin


@pytest.fixture
def random_sequences() -> Callable[..., list[str]]:
    return _sequences


@pytest.fixture
def random_vectors() -> Callable[..., np.ndarray]:
    return _vectors


@pytest.fixture
def result_row() -> Callable[..., ResultRow]:
    return _row


@pytest.fixture
def fill() -> Callable[..., tuple[FeatureView, list[str], np.ndarray]]:
    """Put `n` sequences with float16 vectors into a store; return the view, the keys and the vectors."""

    def filled(store: FeatureStore, n: int = 20, dim: int = 8, seed: int = 0, **changes: Any):
        view, vectors = _view(**changes), _vectors(n, dim, seed)
        keys = store.add_sequences(_sequences(n, seed))
        store.declare(view, _origin(dim))
        store.write(view, keys, vectors)
        return view, keys, vectors

    return filled


@pytest.fixture(scope="session")
def load_module() -> Callable[[Path], ModuleType]:
    """Return what imports a file that tests also start as a program of its own."""

    def load(file: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
