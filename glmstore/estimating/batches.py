"""The batches of a run that may take the most memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from glmstore.extraction.batching import budget_for, plan_batches
from glmstore.extraction.windows import cut

if TYPE_CHECKING:
    from glmstore.estimating.workload import Workload
    from glmstore.models.spec import ModelSpec

FILLED = 4
"""Batches that made-up sequences are to fill, so that the last one, which is not full, weighs little."""


class Batches(NamedTuple):
    """The batches of a run.

    Attributes
    ----------
    heaviest
        Sequences of up to three: the batch of most sequences, which takes most where each costs a window;
        that of most padded letters, where tokens do; that of most pairs of letters, where attention does.
    number
        How many there are in all.
    """

    heaviest: list[list[str]]
    number: int


def plan_run(spec: ModelSpec, device: str, workload: Workload, *, windowed: bool) -> Batches:
    """Return the batches that extraction begins with.

    Parameters
    ----------
    spec
        The model.
    device
        Torch device, which decides how large a batch is.
    workload
        What is embedded; at least one sequence.
    windowed
        Whether sequences longer than the context are cut into windows.
    """
    size = spec.max_nt if windowed and workload.longest > (spec.max_nt or 0) else None
    lengths = workload.lengths.tolist()
    pieces = cut(lengths, size)
    budget = budget_for(spec, device)
    # Sequences that stand for many are repeated until they fill a few batches.
    enough = FILLED * budget.nt // (min(lengths) * len(lengths)) + 1
    times = min(math.ceil(workload.scale), enough)
    pieces = [piece for piece in pieces for _ in range(times)]
    found = list(plan_batches([p.end - p.start for p in pieces], budget))
    rows = np.array([len(places) for places in found])
    longest = np.array([pieces[places[-1]].end - pieces[places[-1]].start for places in found])
    chosen = {int(np.argmax(weight)) for weight in (rows, rows * longest, rows * longest**2)}
    heaviest = [
        [pieces[i].text(workload.sequences[pieces[i].record], "forward") for i in found[number]]
        for number in sorted(chosen)
    ]
    return Batches(heaviest, max(1, round(len(found) * workload.scale / times)))
