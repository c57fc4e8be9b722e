"""Sei: linear and nonlinear convolutions side by side, dilated ones, and a spline basis over positions.

Chen, Wong, Troyanskaya & Zhou 2022, Nature Genetics 54: 940-949. Parameter names and arithmetic are those
of FunctionLab/sei-framework, ``model/sei.py`` at b220c46, class Sei. What differs: channels, dilations and
degrees of freedom are arguments, dropouts are left out of what is only evaluated, and the basis is made
when the network is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy.interpolate import BSpline
from torch import Tensor, nn

from glmstore.models.tokenizers.fixed_length import Window

KERNEL, POOL, DILATED_KERNEL, DEGREE = 9, 4, 5, 3
HALVINGS = 2
"""Max-poolings by `POOL` between the window and the spline basis."""


def spline_basis(length: int, degrees_of_freedom: int) -> np.ndarray:
    """Return the cubic B-spline basis over the positions 0 … length - 1.

    Interior knots lie at equally spaced quantiles of the positions, and the end knots are repeated, so the
    values at every position add up to one.

    Returns
    -------
    float64 array
        [length, degrees_of_freedom].
    """
    inner = np.linspace(0, length - 1, degrees_of_freedom - DEGREE + 1)[1:-1]
    knots = np.r_[[0.0] * (DEGREE + 1), inner, [length - 1.0] * (DEGREE + 1)]
    basis: np.ndarray = BSpline.design_matrix(np.arange(length, dtype=float), knots, DEGREE).toarray()
    return basis


def _conv(width_in: int, width_out: int) -> nn.Conv1d:
    return nn.Conv1d(width_in, width_out, KERNEL, padding=KERNEL // 2)


def _linear_path(width_in: int, width_out: int, *before: nn.Module) -> nn.Sequential:
    return nn.Sequential(*before, _conv(width_in, width_out), _conv(width_out, width_out))


def _nonlinear_path(width: int, *before: nn.Module) -> nn.Sequential:
    return nn.Sequential(*before, _conv(width, width), nn.ReLU(), _conv(width, width), nn.ReLU())


class Sei(nn.Module):
    """The published network: a representation as far as the spline basis, then a classifier of profiles.

    Parameters
    ----------
    window
        What it reads; its only bin is the whole window.
    channels
        Of the three stages; the second and third see a quarter and a sixteenth of the positions.
    dilations
        Of the dilated convolutions.
    degrees_of_freedom
        Functions of the spline basis.
    n_genomic_features
        Chromatin profiles predicted.
    """

    basis: Tensor

    def __init__(
        self,
        window: Window,
        *,
        channels: Sequence[int],
        dilations: Sequence[int],
        degrees_of_freedom: int,
        n_genomic_features: int,
    ) -> None:
        super().__init__()
        self.window = window
        first, second, third = channels
        # Dropouts are left out; identities keep the published numbers of the layers behind them.
        self.lconv1 = _linear_path(4, first)
        self.conv1 = _nonlinear_path(first)
        self.lconv2 = _linear_path(first, second, nn.MaxPool1d(POOL), nn.Identity())
        self.conv2 = _nonlinear_path(second, nn.Identity())
        self.lconv3 = _linear_path(second, third, nn.MaxPool1d(POOL), nn.Identity())
        self.conv3 = _nonlinear_path(third, nn.Identity())
        for number, dilation in enumerate(dilations, start=1):
            padding = dilation * (DILATED_KERNEL // 2)
            conv = nn.Conv1d(third, third, DILATED_KERNEL, dilation=dilation, padding=padding)
            self.add_module(f"dconv{number}", nn.Sequential(nn.Identity(), conv, nn.ReLU()))
        self._dilated = [f"dconv{number}" for number in range(1, len(dilations) + 1)]
        features = third * degrees_of_freedom
        self.classifier = nn.Sequential(
            nn.Linear(features, n_genomic_features),
            nn.ReLU(),
            nn.Linear(n_genomic_features, n_genomic_features),
        )
        basis = spline_basis(window.length // POOL**HALVINGS, degrees_of_freedom)
        self.register_buffer("basis", torch.from_numpy(basis).float(), persistent=False)

    def forward(self, windows: Tensor) -> Tensor:
        """Return [B, 1, third x degrees_of_freedom], channel after channel, of windows [B, 4, length]."""
        linear = self.lconv1(windows)
        linear = self.lconv2(self.conv1(linear) + linear)
        linear = self.lconv3(self.conv2(linear) + linear)
        curved = self.conv3(linear)
        # As published: the first dilated convolution reads both paths, its skip carries the nonlinear one.
        x, read = curved, curved + linear
        for name in self._dilated:
            x = x + self.get_submodule(name)(read)
            read = x
        out: Tensor = (x @ self.basis.to(x.dtype)).flatten(1).unsqueeze(1)
        return out

    def states(self, ids: Tensor, _attention_mask: Tensor | None = None) -> Iterator[Tensor]:
        """Yield [B, 1, D], the only layer: what the classifier reads.

        Parameters
        ----------
        ids
            int64 [B, L], padded on the right with an id of its own, so that no mask is needed.
        """
        yield self.window.through(self, ids, next(self.parameters()).dtype)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits [..., n_genomic_features] of the chromatin profiles, before the sigmoid."""
        logits: Tensor = self.classifier(hidden)
        return logits
