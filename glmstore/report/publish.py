"""Write a run's report beside its store, with what is needed to build it again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from glmstore.report.html import build_report
from glmstore.report.leaderboard import leaderboard
from glmstore.report.record import load_figures, save_summary
from glmstore.report.text import interval_text
from glmstore.workspace import Workspace

if TYPE_CHECKING:
    from glmstore.report.summary import SuiteSummary
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
