"""Publish what a run found."""

from __future__ import annotations

import re

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from glmstore.report.publish import publish
from glmstore.report.summary import SuiteSummary
from glmstore.store import FeatureStore


@task(task_run_name="publish the report", cache_policy=NO_CACHE)
def publish_report(store: str, summary: SuiteSummary) -> str:
    """Write the report beside the store and its leaderboard as an artifact; return the report's path."""
    published = publish(FeatureStore.open(store), summary)
    key = re.sub(r"[^a-z0-9]+", "-", f"leaderboard-{summary.name}".lower()).strip("-")
    create_markdown_artifact(published.markdown, key=key, description=f"Report: {published.path}")
    return str(published.path)
