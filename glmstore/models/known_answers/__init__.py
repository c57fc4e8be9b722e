"""Known answers: what a tiny network of each family gives for one sequence.

A change of torch, of transformers or of our own code that changes a model's numbers changes these first. They
are written by ``python -m glmstore.models.known_answers NAME`` after the architecture was checked against its
source.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from glmstore.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

    from glmstore.models.family import Family

KNOWN = Path(__file__).parent
SEQUENCE = "ACGTTGCANNATTGCAGGTACCATTTGACGGATCC"
TOLERANCE = 2e-4
"""Largest difference allowed, absolute and relative, between machines and builds of torch."""
TOKEN, COLUMNS = 3, 6


def answer(family: Family) -> dict[str, list[float]]:
    """Return some values of every layer and of the logits of the tiny network at one token."""
    import torch

    model = family.tiny_model()
    batch = model.encode([SEQUENCE])
    with torch.inference_mode():
        found = {f"layer {i}": _some(x) for i, x in enumerate(model.layers(batch))}
        return {**found, "logits": _some(model.logits(batch))}


def _some(values: Tensor) -> list[float]:
    """Return the first columns at one token, and the mean absolute value over all tokens."""
    row = values[0, min(TOKEN, values.shape[1] - 1), :COLUMNS].float().tolist()
    return [round(v, 6) for v in [*row, float(values.float().abs().mean())]]


def read_known(name: str) -> dict[str, list[float]]:
    """Return the known answer of a family.

    Raises
    ------
    WeightsError
        If there is none.
    """
    try:
        known: dict[str, list[float]] = json.loads((KNOWN / f"{name}.json").read_text())
    except FileNotFoundError:
        raise WeightsError(f"the family {name} has no known answer.") from None
    return known
