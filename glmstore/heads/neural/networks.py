"""The two networks of Tang et al. 2025, checked against lentiMPRA/mpra_model.py of their code."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from glmstore.errors import HeadError
from glmstore.heads.neural.layers import Exponential, SeededDropout, Standardise

REDUCED, FILTERS, KERNEL, POOLS, DENSE = 196, (196, 256), 7, (5, 4), (512, 256)
SHORTEST = POOLS[0] * POOLS[1]


def _scaled(units: int, width: float) -> int:
    return max(1, round(units * width))


class MLP(nn.Sequential):
    """Two blocks of dense (512, 256) -> ReLU -> batch norm -> dropout, and one linear output.

    Parameters
    ----------
    dim
        Features a row.
    width
        Factor on the units of both blocks.
    dropout
        Probability in both blocks.
    """

    def __init__(self, dim: int, width: float = 1.0, dropout: float = 0.5) -> None:
        layers: list[nn.Module] = [Standardise(torch.zeros(dim), torch.ones(dim))]
        for units in DENSE:
            out = _scaled(units, width)
            layers += [nn.Linear(dim, out), nn.ReLU(), nn.BatchNorm1d(out), SeededDropout(dropout)]
            dim = out
        super().__init__(*layers, nn.Linear(dim, 1), nn.Flatten(0))

    @property
    def standardiser(self) -> Standardise:
        """The first layer."""
        first = self[0]
        assert isinstance(first, Standardise)  # noqa: S101  # as __init__ builds it
        return first


class CNN(nn.Module):
    """The baseline lentiMPRA CNN, on features [B, T, D].

    (Batch norm -> 1x1 convolution to 196) where `reduce`; convolution 196 x 7 -> batch norm -> exp -> dropout
    -> pool 5; convolution 256 x 7 -> batch norm -> ReLU -> dropout -> pool 4; dense 512 and 256, each with
    batch norm, ReLU and dropout 0.5; one linear output. Convolutions keep the length.

    The 1x1 convolution is computed as a linear layer and the others over [B, C, 1, T] with channels last, the
    order the features come in: nothing is transposed.

    Parameters
    ----------
    tokens, dim
        T and D.
    width
        Factor on the convolutions' filters and the dense units; the 1x1 convolution keeps its 196.
    reduce
        Whether the first two layers are there; the paper leaves them out on one-hot sequences.
    dropout
        Probability after the convolutions.

    Raises
    ------
    HeadError
        If there are fewer tokens than the two pools take together.
    """

    def __init__(
        self, tokens: int, dim: int, width: float = 1.0, *, reduce: bool = True, dropout: float = 0.2
    ) -> None:
        super().__init__()
        if tokens < SHORTEST:
            raise HeadError(
                f"head cnn pools {POOLS[0]} and then {POOLS[1]} positions, so it needs {SHORTEST} tokens at "
                f"least; this view has {tokens}. Use mlp or ridge, or a view with more tokens."
            )
        self.norm = nn.BatchNorm1d(dim) if reduce else nn.Identity()
        self.reduce = nn.Linear(dim, REDUCED) if reduce else nn.Identity()
        channels = [REDUCED if reduce else dim, *(_scaled(f, width) for f in FILTERS)]
        activations: tuple[nn.Module, nn.Module] = (Exponential(), nn.ReLU())
        blocks: list[nn.Module] = []
        for i, activation in enumerate(activations):
            blocks += [
                nn.Conv2d(channels[i], channels[i + 1], (1, KERNEL), padding=(0, KERNEL // 2)),
                nn.BatchNorm2d(channels[i + 1]),
                activation,
                SeededDropout(dropout),
                nn.MaxPool2d((1, POOLS[i])),
            ]
        self.convolutions = nn.Sequential(*blocks).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        dense: list[nn.Module] = [nn.Flatten()]
        units = channels[-1] * (tokens // POOLS[0] // POOLS[1])
        for out in (_scaled(u, width) for u in DENSE):
            dense += [nn.Linear(units, out), nn.BatchNorm1d(out), nn.ReLU(), SeededDropout(0.5)]
            units = out
        self.dense = nn.Sequential(*dense, nn.Linear(units, 1), nn.Flatten(0))
        self.shape = (tokens, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B] for features [B, T, D] of any number type."""
        tokens, dim = self.shape
        x = self.reduce(self.norm(x.float().reshape(-1, dim)))
        x = x.reshape(-1, 1, tokens, x.shape[-1]).permute(0, 3, 1, 2)
        return torch.as_tensor(self.dense(self.convolutions(x)))


NETWORKS: dict[str, type[MLP] | type[CNN]] = {"mlp": MLP, "cnn": CNN}


def build(head: str, architecture: dict[str, Any]) -> nn.Module:
    """Return the untrained network of a head from the keyword arguments that describe it."""
    return NETWORKS[head](**architecture)
