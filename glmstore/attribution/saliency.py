"""Gradient-corrected saliency of a model that reads one-hot DNA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from glmstore.errors import ShapeError


class Saliency(NamedTuple):
    """Attributions in the units of the model's output.

    Attributes
    ----------
    hypothetical
        float32 [B, L, 4]: the corrected gradient, what each letter would contribute at each position.
        Sums to 0 over the four letters.
    observed
        float32 [B, L, 4]: `hypothetical` times the one-hot sequence; 0 for letters not there, and on N.
    """

    hypothetical: np.ndarray
    observed: np.ndarray


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode, and put every submodule's own mode back afterwards."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


def _check(one_hot: np.ndarray) -> None:
    if one_hot.ndim != 3 or one_hot.shape[2] != 4:
        raise ShapeError(f"saliency reads one-hot sequences [B, L, 4]; this array is {list(one_hot.shape)}.")
    if not ((one_hot == 0) | (one_hot == 1)).all() or (one_hot.sum(axis=2) > 1).any():
        raise ShapeError("saliency reads one-hot sequences: rows of zeros with at most a single 1.")


def _gradient(module: nn.Module, x: Tensor, output: int) -> Tensor:
    x = x.clone().requires_grad_()
    with torch.enable_grad():
        y = module(x)
        scores = y.reshape(len(x), -1)
        if not 0 <= output < scores.shape[1]:
            raise ShapeError(f"the model has outputs 0 to {scores.shape[1] - 1}; {output} is none of them.")
        (gradient,) = torch.autograd.grad(scores[:, output].sum(), x)
    return gradient.detach()


def corrected_saliency(
    module: nn.Module, one_hot: np.ndarray, *, output: int = 0, batch_size: int = 256
) -> Saliency:
    """Return the gradient of the output by the input, less its mean over the four letters of each position.

    A one-hot row lies on a plane (its letters sum to 1), so the part of the gradient along (1, 1, 1, 1) tells
    nothing about any change of sequence: it is what training left there by chance, and is taken off.

    Parameters
    ----------
    module
        Maps float32 [B, L, 4] to [B], or to [B, outputs]; sequences do not influence one another. Its
        mode, its parameters and their gradients are as before when this returns.
    one_hot
        [B, L, 4] of 0 and 1, letters in the order A, C, G, T; a row of zeros is N.
    output
        0-based output that is explained.
    batch_size
        Sequences a forward pass.

    Raises
    ------
    ShapeError
        If `one_hot` is not one-hot, or the model has no such output.

    References
    ----------
    Majdandzic et al. 2023, Genome Biology 24:109; as used by Tang et al. 2025, Genome Biology 26:203.
    """
    _check(one_hot)
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    hypothetical = np.empty(one_hot.shape, dtype=np.float32)
    with _evaluating(module):
        for start in range(0, len(one_hot), batch_size):
            rows = slice(start, start + batch_size)
            x = torch.as_tensor(one_hot[rows], dtype=torch.float32, device=device)
            gradient = _gradient(module, x, output)
            hypothetical[rows] = (gradient - gradient.mean(dim=2, keepdim=True)).cpu().numpy()
    return Saliency(hypothetical, hypothetical * one_hot.astype(np.float32))
