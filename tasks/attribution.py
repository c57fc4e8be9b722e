"""Explain one fitted probe."""

from __future__ import annotations

from glmstore.attribution.explain import ExplainSettings, run_explain
from glmstore.planning import ProbeJob
from glmstore.store import FeatureStore
from glmstore.workspace import Workspace
from tasks.policies import compute_task


@compute_task("explain {job.cell.head} on {job.cell.benchmark}")
def explain_probe(store: str, job: ProbeJob, settings: ExplainSettings) -> str:
    """Write the saliency and the importance of known sites; return the folder of the figures."""
    opened, beside = FeatureStore.open(store), Workspace.of(store)
    outcome = run_explain(opened, job.probe(beside), job.cell, settings)
    outcome.save(beside.figures)
    opened.write_results(outcome.rows)
    return str(beside.figures)
