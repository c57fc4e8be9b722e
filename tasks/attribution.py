"""Explain one fitted probe."""

from __future__ import annotations

from glmstore.attribution.explain import ExplainSettings, plan_cells, run_explain
from glmstore.planning import ProbeJob
from glmstore.store import FeatureStore
from glmstore.workspace import Workspace
from tasks.policies import alone, compute_task


@compute_task("explain {job.cell.head} on {job.cell.benchmark}")
def explain_probe(store: str, job: ProbeJob, settings: ExplainSettings, *, force: bool = False) -> str:
    """Write the saliency and the importance of known sites; return the folder of the figures."""
    opened, beside = FeatureStore.open(store), Workspace.of(store)
    cells = {cell.key for cell in plan_cells(job.cell, settings)}
    with alone(store, f"explain {job.cell.key}"):
        if force or not beside.has_figures or opened.completed(cells) != cells:
            outcome = run_explain(opened, job.probe(beside), job.cell, settings)
            outcome.save(beside.figures)
            opened.write_results(outcome.rows)
    return str(beside.figures)
