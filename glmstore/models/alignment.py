"""From token space to nucleotide space, where models with different tokenisers can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glmstore.errors import ShapeError

if TYPE_CHECKING:
    from torch import Tensor

    from glmstore.models.base import Batch


def to_nucleotide(hidden: Tensor, batch: Batch) -> Tensor:
    """Repeat each token's vector over the nucleotides it spans.

    Parameters
    ----------
    hidden
        [B, T, D].
    batch
        Its `spans` (0-based, half-open) must tile every sequence.

    Returns
    -------
    Tensor
        [B, L, D] with L the longest sequence; zero past a sequence's end.

    Raises
    ------
    ShapeError
        If the spans of a sequence do not add up to its length.
    """
    width = batch.spans[..., 1] - batch.spans[..., 0]
    width = width.masked_fill(batch.special_mask, 0).long()
    covered = width.sum(dim=1)
    if not bool((covered == batch.lengths).all()):
        i = int((covered != batch.lengths).nonzero()[0])
        raise ShapeError(
            f"sequence {i}: its tokens span {int(covered[i])} of {int(batch.lengths[i])} nt. "
            "The model's encode() is wrong."
        )
    longest = int(batch.lengths.max())
    aligned = hidden.new_zeros(hidden.shape[0], longest, hidden.shape[2])
    for row, vectors, repeats, length in zip(aligned, hidden, width, batch.lengths.tolist(), strict=True):
        row[:length] = vectors.repeat_interleave(repeats, dim=0)
    return aligned
