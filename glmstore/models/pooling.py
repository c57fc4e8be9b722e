"""From token vectors to features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glmstore.errors import PoolingError

if TYPE_CHECKING:
    from torch import Tensor

    from glmstore.models.base import Batch
    from glmstore.views import Pooling


def pool(hidden: Tensor, batch: Batch, pooling: Pooling) -> Tensor:
    """Return float32 [B, D] from hidden states [B, T, D].

    Parameters
    ----------
    hidden
        Any float type; pooled in float32.
    batch
        Tells which tokens stand for nucleotides; ``mean`` and ``max`` leave out specials and padding.
    pooling
        ``mean``, ``max`` or ``cls`` (the first token).

    Raises
    ------
    PoolingError
        For ``tokens``, which is no pooling of this kind (see :func:`real_tokens`).
    """
    hidden = hidden.float()
    real = (~batch.special_mask).unsqueeze(-1)
    if pooling == "mean":
        return (hidden * real).sum(dim=1) / real.sum(dim=1)
    if pooling == "max":
        return hidden.masked_fill(~real, float("-inf")).amax(dim=1)
    if pooling == "cls":
        return hidden[:, 0]
    raise PoolingError(f"{pooling!r} keeps token vectors apart; use real_tokens for it.")


def real_tokens(hidden: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Keep the token vectors that stand for nucleotides.

    Returns
    -------
    values
        float32 [B, T', D], in order, zero-padded on the right.
    counts
        int64 [B], tokens of each sequence.
    """
    real = ~batch.special_mask
    counts = real.sum(dim=1)
    width = int(counts.max())
    # A stable sort of the mask brings real tokens to the front without changing their order.
    order = real.int().argsort(dim=1, descending=True, stable=True)[:, :width]
    values = hidden.float().gather(1, order.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))
    return values * real.gather(1, order).unsqueeze(-1), counts


def flip_tokens(values: Tensor, counts: Tensor) -> Tensor:
    """Reverse the first ``counts[i]`` rows of each [B, T, D] matrix; padding stays on the right."""
    places = (counts.unsqueeze(1) - 1 - _arange_like(values)).clamp(min=0)
    flipped = values.gather(1, places.unsqueeze(-1).expand_as(values))
    return flipped * (_arange_like(values) < counts.unsqueeze(1)).unsqueeze(-1)


def _arange_like(values: Tensor) -> Tensor:
    return values.new_ones(values.shape[1]).long().cumsum(0).unsqueeze(0) - 1
