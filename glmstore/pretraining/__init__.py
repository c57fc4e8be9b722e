"""Masked-language pretraining of GPN networks on any FASTA, and the export of what comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from glmstore.pretraining.config import (
    About,
    CorpusFacts,
    CurvePoint,
    HeldOutScores,
    HoldOut,
    PretrainConfig,
    PretrainReport,
    StepReport,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "About",
    "CorpusFacts",
    "CurvePoint",
    "HeldOutScores",
    "HoldOut",
    "PretrainConfig",
    "PretrainReport",
    "StepReport",
    "export_weights",
    "pretrain",
]


def pretrain(config: PretrainConfig, on_step: Callable[[StepReport], None] | None = None) -> PretrainReport:
    """Train a network, or go on where the newest checkpoint in ``config.out_dir`` stands.

    While another process of this machine trains in that folder, it is waited for.

    Parameters
    ----------
    config
        The run. With a `steps` budget a run that was interrupted and resumed ends with the same weights as
        one that was not.
    on_step
        Called after every optimizer step; whatever it raises stops the run, the last checkpoint stays.

    Raises
    ------
    TableError, AlphabetError, EmptySequenceError
        If the FASTA cannot be read, or leaves nothing to train on or to hold out.
    WeightsError
        If `out_dir` holds a checkpoint of another recipe or another corpus, or the weights end up too large
        for float16.
    DeviceError
        If this machine has no such device.
    """
    from glmstore.pretraining.train import run

    return run(config, on_step)


def export_weights(
    checkpoint: Path, fasta: Path, out_dir: Path, about: About | None = None, *, device: str | None = None
) -> HeldOutScores:
    """Write ``model.safetensors`` (fp16), ``config.json`` and ``MODEL_CARD.md``; return the card's scores.

    The weights are scored as exported, unless the run did so when it ended. ``config.json`` pins their sha256
    and goes last, so that a model whose files are being replaced is refused rather than mixed. The folder is
    the model ``gpn:FOLDER`` from then on.

    Parameters
    ----------
    checkpoint
        A checkpoint folder, or the `out_dir` of a run, whose newest checkpoint is taken.
    fasta
        The corpus of the run.
    out_dir
        Folder to write to; its three files are replaced.
    about
        What the card says beside the numbers; what it leaves out is taken from an earlier export there.
    device
        Torch device that weights are scored on; the run's when not given.

    Raises
    ------
    WeightsError
        If there is no checkpoint, its weights are not finite in float16, or `fasta` is not its corpus.
    TableError, AlphabetError, EmptySequenceError
        If the FASTA cannot be read.
    DeviceError
        If this machine has no such device.
    """
    from glmstore.pretraining.export import export

    return export(checkpoint, fasta, out_dir, about or About(), device)
