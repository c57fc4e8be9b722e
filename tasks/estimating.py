"""Show what a flow would do."""

from __future__ import annotations

import re

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from glmstore.estimating import Plan, markdown, summary


@task(task_run_name="plan of {plan.title}", cache_policy=NO_CACHE)
def publish_plan(plan: Plan) -> Plan:
    """Show the plan as an artifact, and return it."""
    key = re.sub(r"[^a-z0-9]+", "-", f"dry-run-{plan.title}".lower()).strip("-")
    create_markdown_artifact(markdown(plan), key=key, description=summary(plan))
    return plan
