"""Fill the store with the feature vectors that benchmarks need and it lacks."""

from __future__ import annotations

import logging

from prefect import flow
from pydantic import Field

from flows.monitoring import WATCHED
from flows.naming import models_named, named
from flows.outcomes import settle
from flows.runners import ChosenRunner
from flows.settings import FlowConfig
from glmstore import metering
from glmstore.estimating import Plan, features_dry_run
from glmstore.planning import FeatureUse, forget_features, plan_features
from glmstore.stages import Tally
from glmstore.store import FeatureStore
from tasks.estimating import publish_plan
from tasks.features import embed_chunk, optimize_store, register_benchmark
from tasks.policies import patiently

log = logging.getLogger("glmstore.flows")


class BuildFeaturesConfig(FlowConfig):
    """Which benchmarks need which views."""

    uses: tuple[FeatureUse, ...] = Field(description="Pairs of benchmark and view.")
    chunk: int = Field(16_384, ge=1, description="Sequences that one task embeds.")

    @property
    def title(self) -> str:
        """Models and benchmarks, for people."""
        models = models_named(use.view.model for use in self.uses)
        return f"{models} on {named(use.benchmark for use in self.uses)}"


@flow(
    name="build-features",
    flow_run_name="features of {config.title}",
    task_runner=ChosenRunner(),
    **WATCHED,
)
def build_features(config: BuildFeaturesConfig) -> Tally | Plan:
    """Register the benchmarks and embed what their views lack; the tally counts vectors."""
    if config.dry_run:
        return publish_plan(features_dry_run(config.store, config.uses, force=config.force))
    store = patiently(FeatureStore.open, config.store)
    for benchmark in dict.fromkeys(use.benchmark for use in config.uses):
        register_benchmark(config.store, benchmark)
    if config.force:
        patiently(forget_features, store, config.uses)
    plan = patiently(plan_features, store, config.uses, chunk=config.chunk)
    log.info("features: %d vectors asked, %d in the store", plan.asked, plan.present)
    metering.reused("vector", plan.present)
    settle(
        plan.chunks,
        embed_chunk.submit,
        stage="features",
        name=lambda c: c.name,
        unit="vectors",
        size=lambda c: c.n_vectors,
        on_failure=lambda c, _: metering.failed("vector", c.n_vectors),
    )
    if plan.chunks:
        optimize_store(config.store)
    return Tally(vectors_computed=plan.asked - plan.present, vectors_reused=plan.present)
