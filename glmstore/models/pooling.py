"""From token vectors to features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glmstore.errors import PoolingError

if TYPE_CHECKING:
    from torch import Tensor

    from glmstore.models.base import Batch
    from glmstore.views import Pooling


def pool(hidden: Tensor, batch: Batch, pooling: Pooling) -> Tensor:
    """Return float32 [B, D], or [B, 2 D] for ``mean+max``, from hidden states [B, T, D].

    Parameters
    ----------
    hidden
        Any float type; pooled in float32.
    batch
        Tells which tokens stand for nucleotides; specials and padding are left out of all but ``cls``.
    pooling
        ``mean``, ``max``, ``mean+max`` (one behind the other), ``cls`` (the first token), or
        ``windowed-mean``: the mean over nucleotides instead of tokens (see :func:`nucleotide_mean`).

    Raises
    ------
    PoolingError
        For ``tokens`` and ``nucleotides``, which are no poolings of this kind (see :func:`real_tokens` and
        :func:`glmstore.models.alignment.to_nucleotide`).
    """
    import torch

    if pooling == "mean":
        return _mean(hidden.float(), ~batch.special_mask)
    if pooling == "max":
        return _max(hidden.float(), ~batch.special_mask)
    if pooling == "mean+max":
        values, real = hidden.float(), ~batch.special_mask
        return torch.cat([_mean(values, real), _max(values, real)], dim=1)
    if pooling == "cls":
        return hidden[:, 0].float()
    if pooling == "windowed-mean":
        whole = torch.stack([torch.zeros_like(batch.lengths), batch.lengths], dim=1)
        return nucleotide_mean(hidden, batch, whole)
    raise PoolingError(f"{pooling!r} keeps vectors apart; use real_tokens or to_nucleotide for it.")


def _mean(values: Tensor, real: Tensor) -> Tensor:
    # To ask a GPU would make the processor wait for it.
    if not values.is_cuda and bool(real.all()):
        return values.mean(dim=1)
    kept = values.masked_fill(~real.unsqueeze(-1), 0.0)
    return kept.sum(dim=1) / real.sum(dim=1, keepdim=True)


def _max(values: Tensor, real: Tensor) -> Tensor:
    return values.masked_fill(~real.unsqueeze(-1), float("-inf")).amax(dim=1)


def nucleotide_mean(hidden: Tensor, batch: Batch, within: Tensor) -> Tensor:
    """Average token vectors, each weighted by how many nucleotides of an interval it stands for.

    For tokens of one nucleotide each, over whole sequences, this is the plain mean.

    Parameters
    ----------
    hidden
        [B, T, D], any float type; averaged in float32.
    batch
        Gives the span of each token.
    within
        int64 [B, 2], one 0-based half-open interval a sequence; holds at least one nucleotide.

    Returns
    -------
    Tensor
        float32 [B, D].
    """
    spans = batch.spans.long()
    starts, ends = spans[..., 0].maximum(within[:, :1]), spans[..., 1].minimum(within[:, 1:])
    weight = (ends - starts).clamp(min=0).masked_fill(batch.special_mask, 0)
    kept = hidden.float().masked_fill(weight.unsqueeze(-1) == 0, 0.0)
    return (kept * weight.unsqueeze(-1)).sum(dim=1) / weight.sum(dim=1, keepdim=True)


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
