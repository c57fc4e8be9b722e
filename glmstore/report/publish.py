"""Write a run's report beside its store, with what is needed to build it again."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from glmstore.objects.places import Place
from glmstore.report.board import Line, board_markdown, board_rows
from glmstore.report.current import current_results
from glmstore.report.html import build_report
from glmstore.report.leaderboard import leaderboard
from glmstore.report.record import load_figures, load_summary, save_summary
from glmstore.report.summary import STORED, SuiteSummary
from glmstore.workspace import Workspace

if TYPE_CHECKING:
    from glmstore.store import FeatureStore


class Published(NamedTuple):
    """Where the report lies, and the lines of the leaderboard in words."""

    path: Place
    rows: list[Line]

    @property
    def markdown(self) -> str:
        """The leaderboard as a Markdown table."""
        return board_markdown(self.rows)


def publish(store: FeatureStore, summary: SuiteSummary) -> Published:
    """Store the summary, write the report, and return its place and the leaderboard.

    Raises
    ------
    StoreError
        If nothing can be written beside the store.
    """
    beside = Workspace.of(store.uri)
    save_summary(beside.root, summary)
    path = build_report(store, suite_summary=summary, figures=load_figures(beside.figures), out=beside.report)
    return Published(path, board_rows(leaderboard(store)))


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
    StoreError
        If the file cannot be written.
    """
    beside = Workspace.of(store.uri)
    path = build_report(
        store,
        suite_summary=load_summary(beside.root) or summary_of_store(store),
        figures=load_figures(beside.figures),
        out=out or beside.report,
    )
    return Published(path, board_rows(leaderboard(store)))


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
