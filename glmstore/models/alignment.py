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
    import torch

    width = batch.spans[..., 1] - batch.spans[..., 0]
    width = width.masked_fill(batch.special_mask, 0).long()
    covered = width.sum(dim=1)
    if not bool((covered == batch.lengths).all()):
        i = int((covered != batch.lengths).nonzero()[0])
        raise ShapeError(
            f"sequence {i}: its tokens span {int(covered[i])} of {int(batch.lengths[i])} nt. "
            "The model's encode() is wrong."
        )
    places = torch.arange(int(batch.lengths.max()), device=hidden.device)
    # The first token whose end lies past a nucleotide is the one that covers it; specials have no width.
    ends = width.cumsum(dim=1)
    cover = torch.searchsorted(ends, places.expand(len(ends), -1).contiguous(), right=True)
    cover = cover.clamp(max=hidden.shape[1] - 1).unsqueeze(-1).expand(-1, -1, hidden.shape[2])
    inside = (places < batch.lengths.unsqueeze(1)).unsqueeze(-1)
    return hidden.gather(1, cover).masked_fill(~inside, 0.0)
