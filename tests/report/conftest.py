"""A store with results whose numbers are known: predictions are the label plus a chosen amount of noise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest

from glmstore.benchmarks import BenchmarkData, BenchmarkSpec
from glmstore.results import Cell, ResultRow
from glmstore.store import FeatureStore

N_ITEMS = 240


def _spec(name: str, label_kind: str, metrics: tuple[str, ...]) -> BenchmarkSpec:
    return BenchmarkSpec(
        name=name,
        title=f"Title of {name}",
        family="MPRA regression",
        label_kind=label_kind,  # type: ignore[arg-type]
        label="log2 RNA/DNA",
        metrics=metrics,
        split="official",
        sequence_length=12,
        organism="Escherichia coli",
        sources=({"url": "https://example.org/a.csv", "sha256": "0" * 64, "licence": "MIT"},),
        citation="A. Author 2020.",
    )


class Lab:
    """Adds benchmarks and cells to a store in memory."""

    def __init__(self) -> None:
        self.store = FeatureStore.open("memory://")
        self._registered = 0
        self._labels: dict[str, np.ndarray] = {}
        self._metrics: dict[str, tuple[str, ...]] = {}

    def benchmark(
        self,
        name: str,
        *,
        label_kind: str = "regression",
        metrics: tuple[str, ...] = ("pearson_r", "spearman_rho"),
        described: Mapping[str, str] | None = None,
        **facts: float,
    ) -> None:
        """Register a benchmark of N_ITEMS test items, other ones at every call."""
        rng = np.random.default_rng(self._registered)
        self._registered += 1
        labels = rng.normal(size=N_ITEMS)
        if label_kind == "binary":
            labels = (labels > 0).astype(float)
        sequences = ["".join(row) for row in rng.choice(list("ACGT"), size=(N_ITEMS, 12))]
        items = pl.DataFrame(
            {
                "item_id": [f"i{j}" for j in range(N_ITEMS)],
                "sequence": sequences,
                "label": labels,
                "split": "test",
                "cluster": [f"c{j}" for j in range(N_ITEMS)],
            }
        )
        spec = _spec(name, label_kind, metrics).model_copy(update=described)
        self.store.register_benchmark(spec, BenchmarkData(items, dict(facts)))
        self._labels[name], self._metrics[name] = labels, metrics

    def cell(
        self,
        benchmark: str,
        model: str,
        *,
        noise: float = 1.0,
        head: str = "ridge",
        view: str | None = None,
        control: str = "none",
        seeds: int = 2,
        error: str | None = None,
        predictions: bool = True,
        n_items: int = N_ITEMS,
        draw: int = 0,
        protocol: str = "glmstore",
        metric: str | None = None,
        flipped: bool = False,
        site_effects: tuple[float, float] | None = None,
        **details: Any,
    ) -> str:
        """Write one cell; `noise` is the standard deviation added to a label of standard deviation one."""
        view = f"{model}/5/mean/forward/float16@0123abcd" if view is None else view
        cell = Cell(
            benchmark=benchmark,
            benchmark_digest="d",
            model=model,
            view=view,
            head=head,
            protocol=protocol,
            split="official",
            seeds=tuple(range(seeds)),
            settings={"draw": draw},
        )
        shared = cell.model_dump(include={"model", "view", "benchmark", "split", "head", "protocol"}) | {
            "cell_key": cell.key,
            "control": control,
            "seeds": seeds,
            "details": json.dumps({"benchmark_digest": self._digest(benchmark), **details}),
        }
        if error is not None:
            metric = metric or self._metrics.get(benchmark, ("pearson_r",))[0]
            none = {"value": None, "ci_low": None, "ci_high": None, "n": 0}
            row = ResultRow(**shared, **none, metric=metric, status="failed", error=error)
            self.store.write_results([row])
            return cell.key
        if site_effects is not None:
            rows = [
                ResultRow(**shared, metric=name, value=value, ci_low=value - 0.1, ci_high=value + 0.1, n=300)
                for name, value in zip(("gia_effect", "gia_control_effect"), site_effects, strict=True)
            ]
            self.store.write_results(rows)
            return cell.key
        y, p = self._predict(benchmark, model, head, noise, seeds, n_items)
        p = -p if flipped else p
        self.store.write_results(
            [self._row(shared, metric, y, p, cell.key) for metric in self._metrics[benchmark]],
            self._frame(cell.key, y, p) if predictions else None,
        )
        return cell.key

    def _digest(self, benchmark: str) -> str:
        registered = benchmark in self.store.benchmarks()["name"].to_list()
        return self.store.benchmark_digest(benchmark) if registered else "never registered"

    def _predict(
        self, benchmark: str, model: str, head: str, noise: float, seeds: int, n_items: int
    ) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([ord(c) for c in benchmark + model + head])
        y = self._labels[benchmark][:n_items]
        return y, y + noise * rng.normal(size=(seeds, n_items))

    def _row(self, shared: dict[str, Any], metric: str, y: np.ndarray, p: np.ndarray, key: str) -> ResultRow:
        from glmstore.stats.bootstrap import interval

        found = interval(metric, y, p, [f"c{j}" for j in range(len(y))], n_resamples=50)
        return ResultRow(
            **shared, metric=metric, value=found.value, ci_low=found.low, ci_high=found.high, n=len(y)
        )

    def _frame(self, key: str, y: np.ndarray, p: np.ndarray) -> pl.DataFrame:
        ids = [f"i{j}" for j in range(len(y))]
        return pl.concat(
            pl.DataFrame(
                {
                    "cell_key": key,
                    "seed": seed,
                    "item_id": ids,
                    "seq_key": ids,
                    "cluster": [f"c{j}" for j in range(len(y))],
                    "label": y,
                    "prediction": row,
                }
            )
            for seed, row in enumerate(p)
        )

    def panel(
        self, benchmark: str, *, head: str = "ridge", model: float, twin: float, one_hot: float
    ) -> None:
        """Write gpn-mini with two random twins and one-hot under one head, at these noise levels."""
        self.cell(benchmark, "gpn-mini", head=head, noise=model)
        for k in range(2):
            self.cell(benchmark, f"rand_init:gpn-mini:{k}", head=head, noise=twin, control="random_twin")
        view = "onehot/0/tokens/forward/uint8@onehot"
        self.cell(benchmark, "onehot", head=head, noise=one_hot, view=view, control="sequence")


@pytest.fixture
def lab() -> Lab:
    """Return an empty store and the means to fill it."""
    return Lab()
