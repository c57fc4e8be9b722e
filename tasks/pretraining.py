"""Pretrain a network and export its weights."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from glmstore.pretraining import About, HeldOutScores, PretrainConfig, StepReport, export_weights, pretrain
from glmstore.report.text import duration_text
from tasks.artifacts import artifact_key
from tasks.policies import compute_task


@compute_task("pretrain on {config.fasta.name}", every_core=True)
def pretrain_network(config: PretrainConfig) -> str:
    """Train, or go on from the newest checkpoint; return the folder of the last checkpoint."""
    progress: UUID = create_progress_artifact(  # type: ignore[assignment]
        0.0, artifact_key("progress-pretrain", config.fasta.name), f"Pretraining on {config.fasta.name}"
    )

    def show(step: StepReport) -> None:
        if step.heldout_nll is not None:
            update_progress_artifact(progress, 100 * step.progress, _standing(config, step))

    return str(pretrain(config, show).checkpoint)


def _standing(config: PretrainConfig, step: StepReport) -> str:
    """Say how far and how fast training is; the times are those of all its resumes together."""
    left = step.seconds * (1 - step.progress) / step.progress if step.progress else 0.0
    return (
        f"Pretraining on {config.fasta.name}: step {step.step:,}, {step.tokens / step.seconds:,.0f} nt/s, "
        f"about {duration_text(left)} left, {step.heldout_nll:.4f} nats a base on held-out stretches"
    )


@compute_task("export {about.name}", every_core=True)
def export_model(checkpoint: str, fasta: Path, out_dir: Path, about: About) -> HeldOutScores:
    """Write fp16 weights, configuration and model card; return their scores on the held-out stretches."""
    return export_weights(Path(checkpoint), fasta, out_dir, about)
