"""Explain the one-hot CNN of a benchmark: saliency, and global importance of its known sites."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow
from pydantic import Field

from flows.monitoring import WATCHED
from flows.outcomes import settle, unfinished
from flows.runners import ChosenRunner
from flows.settings import FlowConfig
from glmstore import metering
from glmstore.attribution.explain import ExplainSettings, plan_cells
from glmstore.benchmarks.plans import ExplainPlan, ProbePlan, ViewRequest
from glmstore.estimating import Plan, explanations_dry_run
from glmstore.planning import explained_job, plan_probes
from glmstore.results import Cell
from glmstore.stages import Tally
from glmstore.store import FeatureStore
from glmstore.workspace import Workspace
from tasks.attribution import explain_probe
from tasks.estimating import publish_plan
from tasks.policies import patiently
from tasks.probes import train_probe


class ExplainConfig(FlowConfig):
    """Which benchmark is explained, and which probe cells there are to choose from."""

    plan: ExplainPlan = Field(description="Benchmark with known sites.")
    probes: tuple[ProbePlan, ...] = Field(description="As in train-probes.")
    models: tuple[ViewRequest, ...] = Field(description="As in train-probes.")
    seeds: tuple[int, ...] = Field((0,), description="As in train-probes.")


@flow(
    name="explain",
    flow_run_name="explain the one-hot CNN of {config.plan.benchmark}",
    task_runner=ChosenRunner(),
    **WATCHED,
)
def explain(config: ExplainConfig) -> Tally | Plan:
    """Explain the probe unless the store and the figures are there; a probe that is gone is trained again."""
    if config.dry_run:
        asked = (config.plan, config.probes, config.models, config.seeds)
        return publish_plan(explanations_dry_run(config.store, *asked, force=config.force))
    store, beside = patiently(FeatureStore.open, config.store), Workspace.of(config.store)
    settings = ExplainSettings(n_backgrounds=config.plan.n_backgrounds)
    jobs = patiently(plan_probes, store, config.probes, config.models, config.seeds)
    job = explained_job(jobs, config.plan.benchmark)
    cells = plan_cells(job.cell, settings)
    if not config.force and patiently(_is_explained, store, beside, cells):
        metering.reused("cell", len(cells))
        return Tally(reused=len(cells))
    if patiently(job.folder, beside) is None:
        train_probe(job, force=True)
    settle(
        [job],
        lambda j: explain_probe.submit(config.store, j, settings, force=config.force),
        stage="explain",
        name=lambda j: f"explain {j.cell.head} on {j.cell.benchmark}",
        on_success=lambda _: metering.computed("cell", len(cells)),
        on_failure=lambda *_: metering.failed("cell", len(cells)),
    )
    return Tally(computed=len(cells))


def _is_explained(store: FeatureStore, beside: Workspace, cells: Sequence[Cell]) -> bool:
    return beside.has_figures and not unfinished(store, cells)
