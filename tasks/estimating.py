"""Show what a flow would do."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from glmstore.estimating import Plan, markdown, summary
from tasks.artifacts import artifact_key


@task(task_run_name="plan of {plan.title}", cache_policy=NO_CACHE)
def publish_plan(plan: Plan) -> Plan:
    """Show the plan as an artifact, and return it."""
    create_markdown_artifact(markdown(plan), artifact_key("dry-run", plan.title), summary(plan))
    return plan
