"""Pretrain a network and export its weights."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE

from glmstore.pretraining import HeldOutScores, PretrainConfig, StepReport, export_weights, pretrain


@task(
    task_run_name="pretrain on {config.fasta.name}", retries=2, retry_delay_seconds=10, cache_policy=NO_CACHE
)
def pretrain_network(config: PretrainConfig) -> str:
    """Train, or go on from the newest checkpoint; return the folder of the last checkpoint."""
    progress: UUID = create_progress_artifact(  # type: ignore[assignment]
        progress=0.0, description=f"Pretraining on {config.fasta.name}"
    )

    def show(step: StepReport) -> None:
        if step.heldout_nll is not None:
            update_progress_artifact(progress, 100 * step.progress)

    return str(pretrain(config, show).checkpoint)


@task(task_run_name="export {name}", cache_policy=NO_CACHE)
def export_model(checkpoint: str, fasta: Path, out_dir: Path, name: str) -> HeldOutScores:
    """Write fp16 weights, configuration and model card; return their scores on the held-out stretches."""
    return export_weights(Path(checkpoint), fasta, out_dir, name=name)
