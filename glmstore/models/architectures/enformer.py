"""Enformer: convolutions that halve the sequence seven times, then a transformer over bins of 128 nt.

Avsec et al. 2021, Nature Methods 18: 1196-1203. Parameter names are those of lucidrains/enformer-pytorch
(``enformer_pytorch/modeling_enformer.py`` at ab29196, class Enformer; the later 29cd252 names the same
tensors), which ported the published weights. What differs: all bins of the window are kept instead of the
middle 896, dropouts are left out of what is only evaluated, and the gamma features of distances are those
of the original (:mod:`glmstore.models.architectures.enformer_attention`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from glmstore.models.architectures.enformer_attention import Attention, distance_features
from glmstore.models.tokenizers.fixed_length import Window

STEM_KERNEL, TOWER_KERNEL = 15, 5


def tower_channels(start: int, end: int, n: int, divisible_by: int) -> list[int]:
    """Return `n` channel numbers from `start` to `end` that grow by one factor, rounded to a multiple."""
    factor = (end / start) ** (1 / (n - 1))
    return [round(start * factor**i / divisible_by) * divisible_by for i in range(n)]


class _Gelu(nn.Module):
    """The logistic approximation of the Gaussian error linear unit."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class _Residual(nn.Module):
    """A module with a skip; its name is part of the published ones."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.fn(x)
        return out


class AttentionPool(nn.Module):
    """Halve the positions: each channel of a pair is averaged with weights that a linear layer gives it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_attn_logits = nn.Conv2d(width, width, 1, bias=False)
        with torch.no_grad():
            self.to_attn_logits.weight.copy_(2 * torch.eye(width)[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, D, N / 2] of [B, D, N]."""
        pairs = x.reshape(*x.shape[:-1], -1, 2)
        weights: Tensor = self.to_attn_logits(pairs).softmax(dim=-1)
        return (pairs * weights).sum(dim=-1)


def _conv_block(width_in: int, width_out: int, kernel: int = 1) -> nn.Sequential:
    conv = nn.Conv1d(width_in, width_out, kernel, padding=kernel // 2)
    return nn.Sequential(nn.BatchNorm1d(width_in), _Gelu(), conv)


def _feed_forward(width: int) -> nn.Sequential:
    # Identities stand where dropouts do, so that the published numbers hold.
    up, down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
    return nn.Sequential(nn.LayerNorm(width), up, nn.Identity(), nn.ReLU(), down)


class _Attend(nn.Module):
    """Attention over normalised bins, with a skip."""

    def __init__(self, width: int, heads: int, key_width: int) -> None:
        super().__init__()
        self.fn = nn.Sequential(nn.LayerNorm(width), Attention(width, heads, key_width))

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        norm, attention = self.fn
        out: Tensor = x + attention(norm(x), features)
        return out


class _Block(nn.ModuleList):
    """One layer of the transformer; a list, so that its parts carry the published numbers."""

    def __init__(self, width: int, heads: int, key_width: int) -> None:
        super().__init__([_Attend(width, heads, key_width), _Residual(_feed_forward(width))])

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        attend, feed_forward = self
        out: Tensor = feed_forward(attend(x, features))
        return out


class Enformer(nn.Module):
    """The published network: its trunk, a representation of bins, and its heads, a species each.

    Parameters
    ----------
    window
        What it reads, with its bins.
    dim
        Channels of the transformer; bins have twice as many.
    depth, heads, attn_dim_key
        Of the transformer.
    num_downsamples
        Halvings; a bin has two to this power nucleotides.
    dim_divisible_by
        What the channel numbers of the tower are rounded to.
    output_heads
        Tracks predicted, by species.
    """

    def __init__(
        self,
        window: Window,
        *,
        dim: int,
        depth: int,
        heads: int,
        attn_dim_key: int,
        num_downsamples: int,
        dim_divisible_by: int,
        output_heads: Mapping[str, int],
    ) -> None:
        super().__init__()
        self.window, self._n_features = window, dim // heads
        half = dim // 2
        stem = nn.Conv1d(4, half, STEM_KERNEL, padding=STEM_KERNEL // 2)
        self.stem = nn.Sequential(stem, _Residual(_conv_block(half, half)), AttentionPool(half))
        widths = [half, *tower_channels(half, dim, num_downsamples - 1, dim_divisible_by)]
        self.conv_tower = nn.Sequential(
            *(
                nn.Sequential(_conv_block(a, b, TOWER_KERNEL), _Residual(_conv_block(b, b)), AttentionPool(b))
                for a, b in pairwise(widths)
            )
        )
        self.transformer = nn.Sequential(*(_Block(dim, heads, attn_dim_key) for _ in range(depth)))
        self.final_pointwise = nn.Sequential(nn.Identity(), _conv_block(widths[-1], 2 * dim), _Gelu())
        self._heads = nn.ModuleDict(
            {species: nn.Sequential(nn.Linear(2 * dim, n)) for species, n in output_heads.items()}
        )

    def forward(self, windows: Tensor) -> Tensor:
        """Return [B, bins, 2 dim], the trunk's output over windows [B, 4, length]."""
        x = self.conv_tower(self.stem(windows)).transpose(1, 2)
        features = distance_features(x.shape[1], self._n_features).to(x.device)
        for block in self.transformer:
            x = block(x, features)
        out: Tensor = self.final_pointwise(x.transpose(1, 2)).transpose(1, 2)
        return out

    def states(self, ids: Tensor, _attention_mask: Tensor | None = None) -> Iterator[Tensor]:
        """Yield [B, 1 + T, 2 dim], the only layer: the central bin, then the bins each sequence overlaps.

        Parameters
        ----------
        ids
            int64 [B, L], padded on the right with an id of its own, so that no mask is needed.
        """
        yield self.window.through(self, ids, next(self.parameters()).dtype)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the tracks [..., sum of all heads], in the order of the heads, before the softplus."""
        return torch.cat([head(hidden) for head in self._heads.values()], dim=-1)
