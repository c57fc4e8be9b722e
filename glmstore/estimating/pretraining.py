"""What a pretraining run would do: steps left, nucleotides, time, from a few steps of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from glmstore.errors import WeightsError
from glmstore.estimating.plan import Plan, Work
from glmstore.estimating.quantity import Quantity, bytes_text
from glmstore.estimating.shelf import free_bytes_at

if TYPE_CHECKING:
    from glmstore.pretraining import CorpusFacts, PretrainConfig

SECONDS = 3.0
_ADAMW_BYTES = 16  # a float32 weight, its gradient and two moments
_MINUTE = 60


def pretraining_dry_run(config: PretrainConfig, name: str) -> Plan:
    """Plan a pretraining run: the corpus is read and a few steps are made, and forgotten again.

    Parameters
    ----------
    config
        The run; checkpoints in its `out_dir` count as done.
    name
        The model's name.

    Raises
    ------
    DeviceError
        If this machine has no such device.
    TableError, AlphabetError, EmptySequenceError, WeightsError
        As :func:`glmstore.pretraining.pretrain` would.
    """
    from glmstore.estimating.devices import available_memory
    from glmstore.extraction.hardware import resolve_device
    from glmstore.pretraining.corpus import load_corpus
    from glmstore.pretraining.train import Trainer

    device = resolve_device(config.device)
    trainer = Trainer(config, load_corpus(config.fasta, config.holdout))
    present, seconds_before = _made_before(config, trainer.corpus.facts)
    a_step = _seconds_a_step(trainer.train_step)
    if config.steps is not None:
        asked = config.steps
        left = max(0, asked - present)
        duration = Quantity(
            value=left * a_step,
            unit="seconds",
            basis="measured",
            how=f"{a_step:.3g} s a step, timed just now; evaluations come on top",
        )
    else:
        remaining = max(0.0, _MINUTE * (config.minutes or 0.0) - seconds_before)
        asked = present + round(remaining / a_step)
        duration = Quantity(value=remaining, unit="seconds", basis="exact", how="the budget that was given")
    corpus, parameters = trainer.corpus.facts, sum(p.numel() for p in trainer.network.parameters())
    nt = asked * config.batch_nt
    earlier = f"; may end after {config.patience} points without a new best" if config.patience else ""
    return Plan(
        title=f"pretrain {name}",
        store=str(config.out_dir),
        store_exists=config.out_dir.is_dir(),
        free_bytes=free_bytes_at(config.out_dir.absolute()),
        device=device,
        work=(Work(stage="pretraining", what="steps", asked=asked, present=present, time=duration),),
        notes=(
            f"{corpus.train_nt:,} nt of {corpus.file} to train on, {corpus.heldout_nt:,} nt held out",
            f"{nt:,} nt seen in all, {nt / corpus.train_nt:.1f} passes over them{earlier}",
            f"{parameters:,} parameters: {bytes_text(_ADAMW_BYTES * parameters)} with gradients and AdamW "
            "moments, activations on top",
        ),
        memory_available=available_memory(device),
    )


def _made_before(config: PretrainConfig, corpus: CorpusFacts) -> tuple[int, float]:
    """Return the steps and seconds of the newest checkpoint; resuming itself may write."""
    from glmstore.pretraining.checkpoint import checkpoints, read_state

    found = checkpoints(config.out_dir)
    if not found:
        return 0, 0.0
    state = read_state(found[-1])
    if state["recipe"] != config.recipe() or state["corpus"] != corpus.model_dump(mode="json"):
        raise WeightsError(
            f"{found[-1]} was made with another recipe or corpus, so a run would refuse to go on from it. "
            "Use a fresh out_dir, or its settings."
        )
    return int(state["step"]), float(state["seconds"])


def _seconds_a_step(step: Callable[[], object]) -> float:
    """Return the mean over steps made for a few seconds, the first of all not counted."""
    step()
    started, made = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS or not made:
        step()
        made += 1
    return (time.perf_counter() - started) / made
