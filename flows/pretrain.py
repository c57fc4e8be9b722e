"""Pretrain a GPN on any FASTA, and export it with a model card."""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from pydantic import Field

from flows.monitoring import WATCHED
from flows.settings import Foreseeable
from glmstore.estimating import Plan, pretraining_dry_run
from glmstore.pretraining import About, PretrainConfig
from tasks.estimating import publish_plan
from tasks.pretraining import export_model, pretrain_network


class PretrainFlowConfig(About, Foreseeable):
    """One pretraining run, where its weights go, and what their card says."""

    training: PretrainConfig = Field(description="Corpus, architecture, budget, optimisation.")
    export_to: Path | None = Field(
        None,
        description="Folder for weights and model card, which embeds as gpn:FOLDER; None: checkpoints only.",
    )

    @property
    def about(self) -> About:
        """What the card says beside the numbers."""
        return About(**self.model_dump(include=set(About.model_fields)))


@flow(name="pretrain", flow_run_name="pretrain {config.name} on {config.training.fasta.name}", **WATCHED)
def pretrain(config: PretrainFlowConfig) -> str | Plan:
    """Train, resuming what an earlier run left; export if asked to; return the last checkpoint."""
    if config.dry_run:
        return publish_plan(pretraining_dry_run(config.training, config.name))
    checkpoint = pretrain_network(config.training)
    if config.export_to is not None:
        export_model(checkpoint, config.training.fasta, config.export_to, config.about)
    return checkpoint
