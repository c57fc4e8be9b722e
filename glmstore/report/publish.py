"""Write a run's report beside its store, with what is needed to build it again."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from glmstore.report.current import current_results
from glmstore.report.html import STORED, build_report
from glmstore.report.leaderboard import leaderboard
from glmstore.report.record import load_figures, load_summary, save_summary
from glmstore.report.summary import SuiteSummary
from glmstore.report.text import interval_text
from glmstore.workspace import Workspace

if TYPE_CHECKING:
    from glmstore.store import FeatureStore


class Published(NamedTuple):
    """The report's file, and the leaderboard as Markdown."""

    path: Path
    markdown: str


def publish(store: FeatureStore, summary: SuiteSummary) -> Published:
    """Store the summary, write the report, and return both the file and the leaderboard as Markdown.

    Raises
    ------
    StoreNotWritableError
        If the folder beside the store cannot be written.
    """
    beside = Workspace.of(store.uri)
    save_summary(beside.root, summary)
    path = build_report(store, suite_summary=summary, figures=load_figures(beside.figures), out=beside.report)
    return Published(path, _markdown(store))


def republish(store: FeatureStore, out: Path | None = None) -> Published:
    """Write the report anew from what the store holds, under the last run's summary where there is one.

    Parameters
    ----------
    store
        Nothing in it is computed or changed.
    out
        The file to write; None: the report beside the store.

    Raises
    ------
    StoreNotWritableError
        If the file cannot be written.
    """
    beside = Workspace.of(store.uri)
    path = build_report(
        store,
        suite_summary=load_summary(beside.root) or summary_of_store(store),
        figures=load_figures(beside.figures),
        out=out or beside.report,
    )
    return Published(path, _markdown(store))


def summary_of_store(store: FeatureStore) -> SuiteSummary:
    """Describe a store that no suite has left a summary beside."""
    results = current_results(store)
    cells = results.unique("cell_key")
    return SuiteSummary(
        name=STORED,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=0.0,
        computed_cells=0,
        reused_cells=cells.filter(pl.col("status") == "ok").height,
        failed_cells=cells.filter(pl.col("status") == "failed").height,
        notes=("This report was built from the store alone; no run left a summary beside it.",),
        seeds=tuple(range(max(cells["seeds"], default=0))),
    )


def _markdown(store: FeatureStore) -> str:
    lines = [
        "| benchmark | model | head | metric | value [95 % interval] | n | seeds | control |",
        "|---" * 8 + "|",
    ]
    for row in leaderboard(store).iter_rows(named=True):
        value = (
            interval_text(row["value"], row["ci_low"], row["ci_high"])
            if row["status"] == "ok"
            else f"failed: {row['error']}"
        )
        cells = (
            row["benchmark"],
            row["model"],
            row["head"],
            row["metric"],
            value,
            row["n"],
            row["seeds"],
            row["control"],
        )
        lines.append("| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |")
    return "\n".join(lines)
