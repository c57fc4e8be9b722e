"""Gather what searches, adapters and site analyses left, and where the views come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from glmstore.report.panel import details_of
from glmstore.report.text import fact_text, head_text, view_text

if TYPE_CHECKING:
    from glmstore.store import FeatureStore

LORA = "lora"
GIA = "gia:"
_TUNING = ("trials", "pruned", "valid_score", "chosen")


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
                head_text(row["head"], row["protocol"]),
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


@dataclass(frozen=True)
class SiteEffects:
    """What a probe makes of known sites.

    Attributes
    ----------
    name, benchmark
        The sites, and what the probe was trained on.
    n
        Backgrounds.
    effects
        Metric -> result row, in the order they were written.
    """

    name: str
    benchmark: str
    n: int
    effects: Mapping[str, Mapping[str, Any]]


def site_effects(results: pl.DataFrame) -> list[SiteEffects]:
    """Return the results of global importance analysis, one line a set of sites, latest cell of each."""
    rows = results.filter(pl.col("head").str.starts_with(GIA) & (pl.col("status") == "ok"))
    latest = {(row["benchmark"], row["head"]): row["cell_key"] for row in rows.iter_rows(named=True)}
    found = []
    for (benchmark, head), cell in latest.items():
        effects = {row["metric"]: row for row in rows.filter(pl.col("cell_key") == cell).to_dicts()}
        n = max(row["n"] for row in effects.values())
        found.append(SiteEffects(head.removeprefix(GIA), benchmark, n, effects))
    return found


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
