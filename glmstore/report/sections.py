"""Gather from the store what each section of the report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from glmstore.errors import UnknownNameError
from glmstore.report.panel import ZERO_SHOT, details_of
from glmstore.report.plots import forest_svg
from glmstore.report.summary import Verdict
from glmstore.report.terminal import noise_ceiling, view_text

if TYPE_CHECKING:
    from glmstore.benchmarks import BenchmarkSpec
    from glmstore.store import FeatureStore

LORA = "lora"
_LONGEST_FACT = 80
_TUNING = ("trials", "pruned", "valid_score", "chosen")


@dataclass(frozen=True)
class BenchmarkSection:
    """One benchmark: its description, its leaderboard and its plots.

    Attributes
    ----------
    name
        Registry name.
    spec
        None where a benchmark failed before it was registered.
    facts
        Measured facts, in reading order: (name, value) as text.
    rows
        Finished leaderboard rows.
    failed
        Failed leaderboard rows.
    verdicts
        The rows of models, in words.
    plots
        (metric, SVG), one a metric.
    """

    name: str
    spec: BenchmarkSpec | None
    facts: tuple[tuple[str, str], ...]
    rows: tuple[Mapping[str, Any], ...]
    failed: tuple[Mapping[str, Any], ...]
    verdicts: tuple[Verdict, ...]
    plots: tuple[tuple[str, str], ...]

    @property
    def is_zero_shot(self) -> bool:
        """Whether variants are scored without training."""
        return self.spec is not None and self.spec.label_kind == ZERO_SHOT


def benchmark_sections(
    store: FeatureStore, board: pl.DataFrame, verdicts: Sequence[Verdict]
) -> list[BenchmarkSection]:
    """Return a section for every benchmark that the store holds or that has results, by name."""
    names = sorted({*store.benchmarks()["name"], *board["benchmark"]})
    return [_benchmark_section(store, board.filter(pl.col("benchmark") == n), verdicts, n) for n in names]


def _benchmark_section(
    store: FeatureStore, board: pl.DataFrame, verdicts: Sequence[Verdict], name: str
) -> BenchmarkSection:
    try:
        spec, facts = store.benchmark_spec(name), store.benchmark_facts(name)
    except UnknownNameError:
        spec, facts = None, {}
    rows = board.filter((pl.col("status") == "ok") & pl.col("value").is_not_null())
    plots = [
        (
            metric,
            forest_svg(
                rows.filter(pl.col("metric") == metric).to_dicts(),
                metric=metric,
                ceiling=noise_ceiling(facts, metric),
                salt=f"{name}/{metric}",
            ),
        )
        for metric in rows["metric"].unique(maintain_order=True)
    ]
    return BenchmarkSection(
        name=name,
        spec=spec,
        facts=tuple((key.replace("_", " "), fact_text(value)) for key, value in facts.items()),
        rows=tuple(rows.to_dicts()),
        failed=tuple(board.filter(pl.col("status") != "ok").to_dicts()),
        verdicts=tuple(v for v in verdicts if v.benchmark == name),
        plots=tuple(plots),
    )


def fact_text(value: float | int | str) -> str:
    """Return a measured fact as text: thousands separated, four significant digits.

    Examples
    --------
    >>> fact_text(50518), fact_text(0.912345), fact_text("none")
    ('50,518', '0.9123', 'none')
    """
    if isinstance(value, bool | str):
        text = str(value)
        return text if len(text) <= _LONGEST_FACT else f"{text[:16]}… ({len(text)} characters)"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


@dataclass(frozen=True)
class Tuned:
    """What the search of one model's head came to; None where the row does not say."""

    benchmark: str
    model: str
    head: str
    view: str
    trials: int
    pruned: int | None
    valid_score: float | None
    chosen: tuple[tuple[str, str], ...]


def tuned_heads(results: pl.DataFrame) -> list[Tuned]:
    """Return a line for every finished cell whose details record a search, by benchmark and model."""
    cells = results.filter(pl.col("status") == "ok").unique("cell_key", keep="first", maintain_order=True)
    found = []
    for row in cells.sort("benchmark", "head", "model", "view").iter_rows(named=True):
        details = details_of(row)
        if "trials" not in details:
            continue
        trials, pruned, score, chosen = (details.get(key) for key in _TUNING)
        found.append(
            Tuned(
                row["benchmark"],
                row["model"],
                row["head"],
                view_text(row["view"]),
                int(trials or 0),
                None if pruned is None else int(pruned),
                None if score is None else float(score),
                tuple((str(k), fact_text(v)) for k, v in (chosen or {}).items()),
            )
        )
    return found


@dataclass(frozen=True)
class AdapterSection:
    """The LoRA rows of one benchmark and metric.

    Attributes
    ----------
    benchmark, metric
        What `rows` were scored on.
    rows, failed
        Leaderboard rows of models and twins.
    adapters
        (model, training items, adapter names) as the rows' details record them.
    """

    benchmark: str
    metric: str
    rows: tuple[Mapping[str, Any], ...]
    failed: tuple[Mapping[str, Any], ...]
    adapters: tuple[tuple[str, int | None, tuple[str, ...]], ...]


def adapter_sections(board: pl.DataFrame, results: pl.DataFrame) -> list[AdapterSection]:
    """Return what LoRA fine-tuning gave, one section a benchmark and metric, failures included."""
    tuned = board.filter(pl.col("head") == LORA)
    recorded = results.filter((pl.col("head") == LORA) & (pl.col("status") == "ok")).unique("cell_key")
    sections = []
    for (benchmark, metric), part in tuned.group_by("benchmark", "metric", maintain_order=True):
        cells = recorded.filter(pl.col("benchmark") == benchmark).sort("model").to_dicts()
        sections.append(
            AdapterSection(
                str(benchmark),
                str(metric),
                tuple(part.filter(pl.col("status") == "ok").to_dicts()),
                tuple(part.filter(pl.col("status") != "ok").to_dicts()),
                tuple(
                    (row["model"], d.get("n_train"), tuple(d.get("adapters", ())))
                    for row in cells
                    if (d := details_of(row))
                ),
            )
        )
    return sections


def provenance_rows(store: FeatureStore) -> list[dict[str, Any]]:
    """Return, for every stored view, what computed it and from which weights."""
    rows = []
    for name in store.views()["name"]:
        view, source = store.view(name), store.provenance(name)
        rows.append(
            {
                "view": name,
                "model": view.model,
                "revision": view.revision,
                "weights": source.weights_sha256,
                "layer": view.layer,
                "pooling": view.pooling,
                "strand": view.strand,
                "dtype": view.dtype,
                "dim": source.dim,
                "precision": source.precision,
                "code": source.code_version,
                "torch": source.torch_version,
            }
        )
    return rows
