"""Enformer's attention: over the content of bins, and over features of their distance.

Avsec et al. 2021, Nature Methods 18: 1196-1203. Arithmetic as in google-deepmind/deepmind-research,
``enformer/attention_module.py`` (the version that divides gamma features along ``axis=1``), parameter names
as in lucidrains/enformer-pytorch, ``enformer_pytorch/modeling_enformer.py`` at ab29196.

The gamma features are where the port departs from the weights' own network. DeepMind's
``attention_module.py`` divides each feature by its largest value over distances; the port, at each
distance, by the largest over features, which its authors later covered with a table computed by TensorFlow
for 1,536 bins. Computed here in float64 by the original's formula, which needs no table and serves any
number of bins; TensorFlow's float32 exponents (up to 3e4) leave the original itself within about 0.3 % of
it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SHORTEST_HALF_LIFE = 3.0
"""Of the exponential features, as a power of two, in bins."""
GAMMA_FLOOR = 1e-8


def distance_features(n_bins: int, n_features: int) -> Tensor:
    """Return what attention knows of the distance between two bins.

    A third of the features each are exponential decays, indicators of short distances, and gamma densities;
    the second half repeats the first with the sign of the distance.

    Parameters
    ----------
    n_bins
        Bins attended over.
    n_features
        A multiple of six.

    Returns
    -------
    Tensor
        float32 [2 n_bins - 1, n_features], for key minus query = 1 - n_bins … n_bins - 1.
    """
    n = n_features // 6
    signed = torch.arange(1 - n_bins, n_bins, dtype=torch.float64).unsqueeze(1)
    distance = signed.abs()
    half_life = 2 ** torch.linspace(SHORTEST_HALF_LIFE, math.log2(n_bins), n, dtype=torch.float64)
    decay = 2 ** (-distance / half_life)
    near = (distance < 2 ** torch.arange(1, n + 1) - 1).double()
    gamma = _gamma_features(distance, n_bins, n)
    features = torch.cat([decay, near, gamma], dim=1)
    return torch.cat([features, signed.sign() * features], dim=1).float()


def _gamma_features(distance: Tensor, n_bins: int, n: int) -> Tensor:
    """Return gamma densities [2 n_bins - 1, n], all of one deviation, each with a largest value of one."""
    deviation = n_bins / (2 * n)
    mean = torch.linspace(n_bins / n, n_bins, n, dtype=torch.float64)
    shape, rate = (mean / deviation) ** 2, mean / deviation**2
    scale = torch.lgamma(shape) - shape * rate.log()
    density = (torch.xlogy(shape - 1, distance) - rate * distance - scale).exp() + GAMMA_FLOOR
    return density / density.amax(dim=0)


def shift(logits: Tensor) -> Tensor:
    """Turn logits by distance [B, H, T, 2T - 1] into logits by key [B, H, T, T], without copying."""
    logits = logits.contiguous()
    batch, heads, n, wide = logits.shape
    outer = (logits.stride(0), logits.stride(1))
    # Key j of query i lies at column j - i + n - 1: each row starts one column further left.
    return logits.as_strided((batch, heads, n, n), (*outer, wide - 1, 1), logits.storage_offset() + n - 1)


class Attention(nn.Module):
    """Multi-head attention by content and by distance, each with its own bias on the query."""

    def __init__(self, width: int, heads: int, key_width: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, key_width**-0.5
        value_width = width // heads
        self.to_q = nn.Linear(width, key_width * heads, bias=False)
        self.to_k = nn.Linear(width, key_width * heads, bias=False)
        self.to_v = nn.Linear(width, value_width * heads, bias=False)
        self.to_out = nn.Linear(value_width * heads, width)
        self.to_rel_k = nn.Linear(value_width, key_width * heads, bias=False)
        self.rel_content_bias = nn.Parameter(torch.randn(1, heads, 1, key_width))
        self.rel_pos_bias = nn.Parameter(torch.randn(1, heads, 1, key_width))
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)

    def _by_head(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], self.heads, -1).transpose(-2, -3)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """Return [B, T, D] of [B, T, D] and of the features of distances [2T - 1, D / heads]."""
        q, k, v = self._by_head(self.to_q(x)), self._by_head(self.to_k(x)), self._by_head(self.to_v(x))
        by_distance = self._by_head(self.to_rel_k(features))
        q = q * self.scale
        content = (q + self.rel_content_bias) @ k.transpose(-1, -2)
        place = shift((q + self.rel_pos_bias) @ by_distance.transpose(-1, -2))
        mixed = (content + place).softmax(dim=-1) @ v
        out: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
        return out
