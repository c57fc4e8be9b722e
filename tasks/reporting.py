"""Publish what a run found."""

from __future__ import annotations

from glmstore.report.publish import publish
from glmstore.report.summary import SuiteSummary
from glmstore.store import FeatureStore
from tasks.artifacts import show_leaderboard
from tasks.policies import compute_task


@compute_task("report on {summary.name}")
def publish_report(store: str, summary: SuiteSummary) -> str:
    """Write the report beside the store and show its leaderboard as artifacts; return the report's place."""
    published = publish(FeatureStore.open(store), summary)
    show_leaderboard(published, summary.name)
    return str(published.path)
