"""Score variants zero-shot, with models and their random twins, locus by locus."""

from __future__ import annotations

import logging

from prefect import flow
from pydantic import Field

from flows.monitoring import WATCHED
from flows.naming import models_named, named
from flows.outcomes import WorkFailedError, compute_cells
from flows.runners import ChosenRunner
from flows.settings import FlowConfig
from glmstore.benchmarks.plans import VariantPlan
from glmstore.errors import GlmstoreError
from glmstore.estimating import Plan, variants_dry_run
from glmstore.probing import failed_outcome
from glmstore.results import Cell
from glmstore.stages import Tally
from glmstore.store import FeatureStore
from glmstore.variants.planning import plan_cells
from glmstore.variants.zero_shot import ZeroShotSettings
from tasks.estimating import publish_plan
from tasks.features import register_benchmark
from tasks.policies import patiently
from tasks.variants import score_variant_cell

log = logging.getLogger("glmstore.flows")


class ScoreVariantsConfig(FlowConfig):
    """Which models score which variants, and how."""

    plan: VariantPlan = Field(description="Benchmarks of variant effects, models and scorers.")
    settings: ZeroShotSettings = Field(
        default_factory=ZeroShotSettings, description="The same for every model."
    )

    @property
    def title(self) -> str:
        """Models and benchmarks, for people."""
        return f"{models_named(self.plan.models)} on {named(self.plan.benchmarks)}"


@flow(
    name="score-variants",
    flow_run_name="variant scores of {config.title}",
    task_runner=ChosenRunner(),
    **WATCHED,
)
def score_variants(config: ScoreVariantsConfig) -> Tally | Plan:
    """Compute the scores and correlations that the store has no results of.

    A cell that was asked for and cannot be planned becomes a failed row; the flow fails after all others.
    """
    if config.dry_run:
        dry = variants_dry_run(config.store, config.plan, config.settings, force=config.force)
        return publish_plan(dry)
    store, plan = patiently(FeatureStore.open, config.store), config.plan
    for benchmark in plan.benchmarks:
        register_benchmark(config.store, benchmark)
    planned = [
        patiently(plan_cells, store, name, plan.models, plan.scorers, config.settings)
        for name in plan.benchmarks
    ]
    for note in dict.fromkeys(note for part in planned for note in part.notes):
        log.info("variants: %s", note)
    failures = [_refuse(store, cell, error) for part in planned for cell, error in part.refused]
    tally = Tally(failed=len(failures))
    try:
        computed = compute_cells(
            store,
            [cell for part in planned for cell in part.cells],
            lambda cell: score_variant_cell.submit(config.store, cell, config.settings, force=config.force),
            stage="variants",
            force=config.force,
        )
    except WorkFailedError as failed:
        raise WorkFailedError(failures + failed.failures, tally.plus(failed.tally)) from failed
    if failures:
        raise WorkFailedError(failures, tally.plus(computed))
    return computed


def _refuse(store: FeatureStore, cell: Cell, error: GlmstoreError) -> tuple[str, str]:
    """Store the failed row of a cell that cannot be planned; return its name and the reason."""
    name = f"{cell.head} on {cell.benchmark} with {cell.model}"
    log.error("%s cannot be planned: %s", name, error)
    patiently(store.write_results, failed_outcome(cell, error).rows)
    return name, f"{type(error).__name__}: {error}"
