"""Fine-tune LoRA adapters of models and of their random twins."""

from __future__ import annotations

from prefect import flow
from pydantic import Field

from flows.monitoring import WATCHED
from flows.naming import models_named
from flows.outcomes import compute_cells
from flows.runners import ChosenRunner
from flows.settings import FlowConfig
from glmstore.estimating import Plan, adapters_dry_run
from glmstore.finetuning import FineTuneSettings, forget_adapters, plan_cell
from glmstore.stages import Tally
from glmstore.store import FeatureStore
from glmstore.workspace import Workspace
from tasks.estimating import publish_plan
from tasks.features import register_benchmark
from tasks.finetuning import finetune_adapter
from tasks.policies import patiently


class FinetuneAdaptersConfig(FlowConfig):
    """Which models are fine-tuned on which benchmark, and how."""

    benchmark: str = Field(description="Benchmark with training items.")
    models: tuple[str, ...] = Field(description="Models that take LoRA; name the random twin too.")
    settings: FineTuneSettings = Field(
        default_factory=FineTuneSettings, description="The same for every model."
    )

    @property
    def title(self) -> str:
        """Models and benchmark, for people."""
        return f"{models_named(self.models)} on {self.benchmark}"


@flow(
    name="finetune-adapters",
    flow_run_name="adapters of {config.title}",
    task_runner=ChosenRunner(),
    **WATCHED,
)
def finetune_adapters(config: FinetuneAdaptersConfig) -> Tally | Plan:
    """Train, save and judge the adapters that the store has no results of."""
    if config.dry_run:
        asked = (config.benchmark, config.models, config.settings)
        return publish_plan(adapters_dry_run(config.store, *asked, force=config.force))
    store = patiently(FeatureStore.open, config.store)
    register_benchmark(config.store, config.benchmark)
    cells = [patiently(plan_cell, store, config.benchmark, model, config.settings) for model in config.models]
    if config.force:
        for cell in cells:
            patiently(forget_adapters, cell, Workspace.of(config.store))
    return compute_cells(
        store,
        cells,
        lambda cell: finetune_adapter.submit(config.store, cell, config.settings, force=config.force),
        stage="adapters",
        force=config.force,
    )
