"""One Prefect server for all flow tests, and a small benchmark to run them on."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_TASKS_REFRESH_CACHE, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from glmstore.benchmarks.base import BenchmarkData, BenchmarkSpec, Source
from glmstore.store import FeatureStore

TOY = "toy_gc"


@pytest.fixture(scope="session", autouse=True)
def prefect_server() -> Iterator[None]:
    with (
        temporary_settings({PREFECT_TASKS_REFRESH_CACHE: True}),
        prefect_test_harness(server_startup_timeout=240),
    ):
        yield


def toy_spec(name: str = TOY) -> BenchmarkSpec:
    return BenchmarkSpec(
        name=name,
        title="GC content of random sequences",
        family="MPRA regression",
        label_kind="regression",
        label="GC fraction plus a little noise",
        metrics=("pearson_r", "r2"),
        split="hash 80/10/10",
        sequence_length=40,
        organism="none",
        sources=(Source(url="https://example.org/toy.csv", sha256="0" * 64, licence="CC0-1.0"),),
        citation="made for tests",
    )


def toy_data(n: int = 240) -> BenchmarkData:
    rng = np.random.default_rng(7)
    letters = rng.choice(list("ACGT"), size=(n, 40), p=[0.3, 0.2, 0.2, 0.3])
    sequences = ["".join(row) for row in letters]
    gc = np.array([(s.count("G") + s.count("C")) / 40 for s in sequences]) + rng.normal(0, 0.02, n)
    split = ["train"] * (n - 80) + ["valid"] * 40 + ["test"] * 40
    items = pl.DataFrame(
        {
            "item_id": [f"item{i}" for i in range(n)],
            "sequence": sequences,
            "label": gc,
            "split": split,
            "cluster": [f"c{i}" for i in range(n)],
        }
    )
    return BenchmarkData(items=items)


@pytest.fixture
def toy_store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore.open(tmp_path / "store")
    store.register_benchmark(toy_spec(), toy_data())
    return store


@pytest.fixture
def quiet() -> Iterator[None]:
    with disable_run_logger():
        yield
