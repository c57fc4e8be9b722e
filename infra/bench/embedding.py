"""Embedding 2,000 sequences of mixed length: extraction against the two ways it is usually written."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch

from glmstore.extraction import embed
from glmstore.models.architectures.language_model import LanguageModel
from glmstore.models.catalogue import get_model
from infra.bench.harness import BenchRow, at_least, interleaved, shown

N_SEQUENCES, SHORTEST, LONGEST = 2_000, 20, 230
PADDED_BATCH = 32
ROUNDS = 3


def measure() -> list[BenchRow]:
    """Time a middle layer's mean embedding three ways, in CPU time and in wall time."""
    model = get_model("gpn-mini").load("cpu")
    if not isinstance(model, LanguageModel):
        raise TypeError("gpn-mini is expected to be a LanguageModel")
    rng = np.random.default_rng(0)
    sequences = [
        "".join(rng.choice(list("ACGT"), int(n))) for n in rng.integers(SHORTEST, LONGEST + 1, N_SEQUENCES)
    ]
    layer = model.spec.resolve_layer("mid")
    jobs = {
        "extraction": lambda: list(embed(model, sequences, layer=layer, pooling="mean")),
        "single": lambda: _one_by_one(model, sequences, layer),
        "padded": lambda: _padded(model, sequences, layer),
    }
    wall: dict[str, list[float]] = {name: [] for name in jobs}
    cpu = interleaved({name: _timed(job, wall[name]) for name, job in jobs.items()}, rounds=ROUNDS)
    took = {name: median(times[1:]) for name, times in wall.items()}
    return [
        at_least(
            "embedding v loop of single fp32 forwards", cpu["single"] / cpu["extraction"], 2, "CPU time"
        ),
        at_least(
            f"embedding v padded batches of {PADDED_BATCH} keeping every layer",
            cpu["padded"] / cpu["extraction"],
            3,
            "CPU time",
        ),
        shown("embedding v loop of single fp32 forwards, wall", took["single"] / took["extraction"], "x"),
        shown(
            f"embedding v padded batches of {PADDED_BATCH}, wall", took["padded"] / took["extraction"], "x"
        ),
        shown(
            "embedding throughput", N_SEQUENCES / took["extraction"], "sequences/s", "20-230 nt, wall time"
        ),
    ]


def _timed(job: Callable[[], object], seconds: list[float]) -> Callable[[], None]:
    """Also note the wall time of each call; the first call of a job is its warm-up."""

    def run() -> None:
        start = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - start)

    return run


@torch.inference_mode()
def _one_by_one(model: LanguageModel, sequences: list[str], layer: int) -> np.ndarray:
    """Run the whole model on one sequence at a time in float32."""
    pooled = []
    for sequence in sequences:
        states = _every_layer(model, [sequence])
        pooled.append(states[layer].mean(dim=1))
    return torch.cat(pooled).numpy()


@torch.inference_mode()
def _padded(model: LanguageModel, sequences: list[str], layer: int) -> np.ndarray:
    """Run batches of 32 in the order given, padded to the longest of each, and keep every layer."""
    pooled = []
    for start in range(0, len(sequences), PADDED_BATCH):
        batch = sequences[start : start + PADDED_BATCH]
        states = _every_layer(model, batch)
        real = model.encode(batch).attention_mask.unsqueeze(-1)
        pooled.append((states * real).sum(dim=2) / real.sum(dim=1))
    return torch.cat(pooled, dim=1)[layer].numpy()


def _every_layer(model: LanguageModel, sequences: list[str]) -> torch.Tensor:
    """Return float32 [layers + 1, B, T, D], and run the language-model head as a plain forward pass does."""
    batch = model.encode(sequences)
    states = list(model.layers(batch))
    model.logits(batch)
    return torch.stack(states)
