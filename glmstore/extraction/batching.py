"""How many nucleotides go through a model at once, and what happens when they were too many."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from glmstore.models.spec import ModelSpec

CPU_NT, CPU_LEAST_NT, CPU_NUMBERS = 16_384, 2_048, 2**20
"""Most and fewest padded nucleotides of a batch on a processor, and the hidden numbers that decide between.

Enough to keep its cores busy, few enough for its caches: an ESM of width 320 is a fifth slower with 16,384.
"""
GPU_NT = (16_384, 262_144)
"""Fewest and most padded nucleotides a batch begins with on a GPU."""
GPU_NUMBERS = 32
"""Float32 numbers, in units of the model's width, that a forward pass is taken to need a nucleotide."""

LITTLE_PADDING, SMALL_SHARE = 0.05, 8
"""A batch that has reached one eighth of its budget takes no sequence that makes more than this padding."""

_MESSAGES = (
    "defaultcpuallocator: can't allocate memory",
    "defaultcpuallocator: not enough memory",
    "cuda error: out of memory",
    "cublas_status_alloc_failed",
    "mps backend out of memory",
)
_LEARNT: dict[tuple[str, str], int] = {}


@dataclass
class BatchBudget:
    """Padded nucleotides that one batch may hold; shrinks where memory does not suffice.

    Attributes
    ----------
    nt
        The present limit.
    key
        Model and device, under which a smaller limit is remembered by this process; None: nowhere.
    """

    nt: int = CPU_NT
    key: tuple[str, str] | None = field(default=None)

    def shrink(self, nt: int) -> None:
        """Lower the limit, for this and later runs of the same model on the same device."""
        self.nt = max(1, min(nt, self.nt))
        if self.key is not None:
            _LEARNT[self.key] = self.nt


def budget_for(spec: ModelSpec, device: str) -> BatchBudget:
    """Return the budget that a model begins with on a device: what it learnt there, or a guess.

    On a GPU the guess follows from the free memory and the width; what is too much shows by running out.
    """
    key = (f"{spec.name}@{spec.revision}", device)
    if key in _LEARNT:
        return BatchBudget(_LEARNT[key], key)
    if not device.startswith("cuda"):
        cached = max(CPU_LEAST_NT, CPU_NUMBERS // spec.dim) if spec.n_parameters else CPU_NT
        return BatchBudget(min(CPU_NT, cached), key)
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    fewest, most = GPU_NT
    return BatchBudget(min(most, max(fewest, free // (spec.dim * 4 * GPU_NUMBERS))), key)


def plan_batches(lengths: Sequence[int], budget: BatchBudget) -> Iterator[np.ndarray]:
    """Cut sequences, sorted by length, into batches of at most `budget` padded nucleotides.

    Among few sequences lengths differ much from one to the next; batches are then smaller, not padded.
    The budget is read anew for every batch, so that one that has shrunk holds for the rest.

    Yields
    ------
    int64 arrays
        Places in `lengths`, each once; a sequence longer than the budget is a batch of its own.
    """
    order = np.argsort(np.asarray(lengths), kind="stable")
    start = 0
    while start < len(order):
        end, real = start + 1, lengths[order[start]]
        while end < len(order):
            longest = lengths[order[end]]
            padded = (end + 1 - start) * longest
            wasteful = padded * SMALL_SHARE > budget.nt and real + longest < (1 - LITTLE_PADDING) * padded
            if padded > budget.nt or wasteful:
                break
            real += longest
            end += 1
        yield order[start:end]
        start = end


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that a device or the host has no memory left."""
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(message in text for message in _MESSAGES)


def free_memory(device: str) -> None:
    """Give back what a failed forward pass left behind; to be called when its traceback is gone."""
    gc.collect()
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()
