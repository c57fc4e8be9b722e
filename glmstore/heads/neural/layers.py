"""Layers that draw from a generator of their own, so that trainings in threads stay reproducible."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SeededDropout(nn.Module):
    """Dropout that draws from `generator` once it is set (from torch's global one before).

    One random 64-bit number decides for eight values, so the probability is rounded to 1/256; a draw for
    every value, as torch's own dropout makes, is a quarter of a training step on a CPU.
    """

    generator: torch.Generator | None = None

    def __init__(self, p: float) -> None:
        super().__init__()
        self.dropped = round(p * 256)

    def forward(self, x: Tensor) -> Tensor:
        """Zero each number with probability p and scale the others up; nothing in evaluation mode."""
        if not self.training or not self.dropped:
            return x
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device)
        words.random_(-(2**63), None, generator=self.generator)
        strides = torch.empty_like(
            x, dtype=torch.uint8
        ).stride()  # of x, where it is dense: channels last stays so
        kept = words.view(torch.uint8).as_strided(x.shape, strides) >= self.dropped
        return x * kept.to(x.dtype).mul_(256 / (256 - self.dropped))


class Exponential(nn.Module):
    """The exponential as an activation."""

    def forward(self, x: Tensor) -> Tensor:
        """Return exp(x)."""
        return torch.exp(x)


class Standardise(nn.Module):
    """Features less their training mean, over their training scale.

    Parameters
    ----------
    mean, scale
        float32 [D].
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, D]; float16 features are computed in float32."""
        return (x.float() - self.mean) / self.scale


class ScoringModule(nn.Module):
    """A network and the way back to the label's unit: differentiable from features to prediction.

    Parameters
    ----------
    network
        Maps features to [B].
    label_mean, label_scale
        Of the training labels; 0 and 1 where the output is log odds.
    """

    label_mean: Tensor
    label_scale: Tensor

    def __init__(self, network: nn.Module, label_mean: float = 0.0, label_scale: float = 1.0) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("label_mean", torch.tensor(label_mean, dtype=torch.float32))
        self.register_buffer("label_scale", torch.tensor(label_scale, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Return [B] in the label's unit, or log odds."""
        return torch.as_tensor(self.network(x).float() * self.label_scale + self.label_mean)


def seed_layers(network: nn.Module, generator: torch.Generator) -> None:
    """Let every dropout of the network draw from `generator` (on the network's device)."""
    for layer in network.modules():
        if isinstance(layer, SeededDropout):
            layer.generator = generator


def initialise(network: nn.Module, generator: torch.Generator, std: float = 0.005) -> None:
    """Draw weights of dense and convolutional layers from N(0, std), with biases of zero.

    The deviation is that of the published code of Tang et al. 2025 (lentiMPRA/mpra_model.py).
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.normal_(layer.weight, std=std, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
