"""Score variants zero-shot, with models and their random twins, locus by locus."""

from __future__ import annotations

from prefect import flow
from pydantic import Field

from flows.outcomes import compute_cells
from flows.settings import FlowConfig, thread_pool
from glmstore.benchmarks.suites import VariantPlan
from glmstore.estimating import Plan, variants_dry_run
from glmstore.stages import Tally
from glmstore.store import FeatureStore
from glmstore.variants.zero_shot import ZeroShotSettings, plan_cell
from tasks.estimating import publish_plan
from tasks.features import register_benchmark
from tasks.variants import score_variant_cell


class ScoreVariantsConfig(FlowConfig):
    """Which models score which variants, and how."""

    plan: VariantPlan = Field(description="Benchmarks of variant effects, models and scorers.")
    settings: ZeroShotSettings = Field(
        default_factory=ZeroShotSettings, description="The same for every model."
    )

    @property
    def benchmarks(self) -> str:
        """Names of the benchmarks, for people."""
        return ", ".join(self.plan.benchmarks)


@flow(name="score-variants", flow_run_name="score {config.benchmarks}", task_runner=thread_pool())
def score_variants(config: ScoreVariantsConfig) -> Tally | Plan:
    """Compute the scores and correlations that the store has no results of."""
    if config.dry_run:
        dry = variants_dry_run(config.store, config.plan, config.settings, force=config.force)
        return publish_plan(dry)
    store, plan = FeatureStore.open(config.store), config.plan
    for benchmark in plan.benchmarks:
        register_benchmark(config.store, benchmark)
    cells = [
        plan_cell(store, benchmark, model, scorer, config.settings)
        for benchmark in plan.benchmarks
        for model in plan.models
        for scorer in plan.scorers
    ]
    return compute_cells(
        store,
        cells,
        lambda cell: score_variant_cell.submit(config.store, cell, config.settings),
        stage="variants",
        force=config.force,
    )
