"""Gather from the store what each section of the report shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from glmstore.errors import UnknownNameError
from glmstore.report.findings import Finding, findings
from glmstore.report.panel import ZERO_SHOT, details_of
from glmstore.report.plots import forest_svg
from glmstore.report.text import fact_text, noise_ceiling
from glmstore.report.verdicts import Verdict, verdicts

if TYPE_CHECKING:
    from glmstore.benchmarks import BenchmarkSpec
    from glmstore.store import FeatureStore


_LEAK, _LEAK_KINDS = "leaked_", ("exact", "reverse_complement", "near")


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
    findings
        The best model against the best sequence control, a sentence a metric.
    verdicts
        The rows of models, in words.
    plots
        (metric, SVG), one a metric.
    notes
        Sentences on how to read the heads' values.
    """

    name: str
    spec: BenchmarkSpec | None
    facts: tuple[tuple[str, str], ...]
    rows: tuple[Mapping[str, Any], ...]
    failed: tuple[Mapping[str, Any], ...]
    findings: tuple[Finding, ...]
    verdicts: tuple[Verdict, ...]
    plots: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    @property
    def is_zero_shot(self) -> bool:
        """Whether variants are scored without training."""
        return self.spec is not None and self.spec.label_kind == ZERO_SHOT


def benchmark_sections(
    store: FeatureStore, board: pl.DataFrame, results: pl.DataFrame
) -> list[BenchmarkSection]:
    """Return a section for every benchmark that the store holds or that has results, by name."""
    names = sorted({*store.benchmarks()["name"], *board["benchmark"]})
    return [_benchmark_section(store, board.filter(pl.col("benchmark") == n), results, n) for n in names]


def _benchmark_section(
    store: FeatureStore, board: pl.DataFrame, results: pl.DataFrame, name: str
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
        facts=tuple(_facts_in_words(facts)),
        rows=tuple(rows.to_dicts()),
        failed=tuple(board.filter(pl.col("status") != "ok").to_dicts()),
        findings=tuple(findings(board)),
        verdicts=tuple(verdicts(board)),
        plots=tuple(plots),
        notes=_scorer_notes(results.filter(pl.col("benchmark") == name)),
    )


def _facts_in_words(facts: Mapping[str, float | int | str]) -> Iterator[tuple[str, str]]:
    """Yield (name, value) of the facts, in order; of leaks between the parts only those there are."""
    leaks = [name for name in facts if name.startswith(_LEAK)]
    for name, value in facts.items():
        if name not in leaks or value:
            yield name.replace("_", " "), fact_text(value)
    if clean := [name for name in leaks if not facts[name]]:
        kinds = [kind for kind in _LEAK_KINDS if any(name.endswith(kind) for name in clean)]
        which = "leaked between parts" if clean == leaks else "other leaks between parts"
        yield which, f"none ({', '.join(kind.replace('_', ' ') for kind in kinds)})"


def _scorer_notes(results: pl.DataFrame) -> tuple[str, ...]:
    """Say what each zero-shot score is set against, as the rows' details record it."""
    notes = {}
    for row in results.sort("head").iter_rows(named=True):
        details = details_of(row)
        if {"set_against", "expected_sign"} <= details.keys():
            notes[row["head"]] = (
                f"{row['head']} is set against the {details['set_against']}; a score that works has a "
                f"{details['expected_sign']} correlation."
            )
    return tuple(notes.values())
