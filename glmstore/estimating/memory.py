"""Peak memory of an embedding run, by a formula."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glmstore.estimating.quantity import Quantity, bytes_text
from glmstore.extraction.batching import budget_for
from glmstore.extraction.hardware import resolve_precision

if TYPE_CHECKING:
    from glmstore.models.spec import ModelSpec

RUNTIME = 600_000_000
"""Bytes of a process with torch and LanceDB loaded and a small store open, as measured."""
LIVE = 24
"""Float32 tensors [tokens, D] that a forward pass keeps at once: a block's inputs, wider middle, copies."""
BUFFERS = 1_000_000_000
"""Most that rows on their way into the store take, over all their copies."""
_COPIES = 4


def peak_memory(
    spec: ModelSpec, device: str, *, nt: int, longest: int, tokens: float, stored: float
) -> Quantity:
    """Return the bytes that a run takes on its device at its worst; on CPU with the process itself.

    ``weights + 24 x 4 B x D x tokens a batch``, and on CPU ``+ runtime + rows on their way``. Weights are
    float32, with a bfloat16 copy where the device computes in it. The batch is the one extraction begins
    with; where it is too large it is halved, so less memory makes a run slower before it makes it fail.

    Parameters
    ----------
    spec
        The model.
    device
        Torch device.
    nt, longest
        Nucleotides in all, and of the longest sequence.
    tokens
        Tokens for each nucleotide.
    stored
        Bytes to be stored.
    """
    halves = resolve_precision("auto", spec, device) == "bfloat16"
    weights = spec.n_parameters * (6 if halves else 4)
    batch_nt = min(max(budget_for(spec, device).nt, longest), nt)
    batch = round(batch_nt * tokens)
    activations = LIVE * 4 * spec.dim * batch
    how = (
        f"weights {bytes_text(weights)} + {LIVE} x 4 B x {spec.dim:,} x {batch:,} tokens a batch "
        f"{bytes_text(activations)}"
    )
    total = weights + activations
    if not device.startswith("cuda"):
        rows = min(_COPIES * stored, BUFFERS)
        total += RUNTIME + round(rows)
        how += f" + program {bytes_text(RUNTIME)} + rows on their way {bytes_text(rows)}"
    return Quantity(value=total, unit="bytes", basis="estimate", how=how)
