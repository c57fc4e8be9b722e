"""Keep a store in order, and show what was done."""

from __future__ import annotations

from datetime import timedelta

from prefect.artifacts import create_table_artifact

from glmstore.report.publish import republish
from glmstore.store import FeatureStore
from glmstore.upkeep import Upkeep, maintain
from tasks.artifacts import show_leaderboard
from tasks.policies import compute_task


@compute_task("merge and clean")
def maintain_tables(store: str, keep: timedelta) -> Upkeep | None:
    """Merge small files and remove what nobody can see; None where another process is doing it."""
    return maintain(store, keep)


@compute_task("show what was done")
def publish_upkeep(upkeep: Upkeep) -> None:
    """Show files before and after, and the bytes freed, table by table."""
    create_table_artifact(upkeep.shown(), key="maintain-store", description=upkeep.sentence)


@compute_task("write leaderboard and report")
def refresh_report(store: str) -> str:
    """Write the report anew, show the leaderboard as an artifact; return the report's place."""
    published = republish(FeatureStore.open(store, create=False))
    show_leaderboard(published)
    return str(published.path)
