"""Saliency on models whose gradients are known by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from glmstore.attribution.saliency import corrected_saliency
from glmstore.errors import ShapeError

ALPHABET = "ACGT"


def _one_hot(*sequences: str) -> np.ndarray:
    return np.array([[[letter == a for a in ALPHABET] for letter in s] for s in sequences], dtype=np.uint8)


class Linear(nn.Module):
    """y = sum of w * x: its gradient is w, whatever the sequence."""

    def __init__(self, weight: np.ndarray) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).sum(dim=(1, 2))


class Square(Linear):
    """y = (sum of w * x)^2: its gradient is 2 (w . x) w, so each sequence has its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) ** 2


class TwoOutputs(Linear):
    """Outputs w . x and -3 w . x, and a dropout and a batch norm that would change them in training mode."""

    def __init__(self, weight: np.ndarray) -> None:
        super().__init__(weight)
        self.drop, self.norm = nn.Dropout(0.9), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(self.drop(x))
        return torch.stack([y, -3 * y], dim=1)


WEIGHT = np.array([[4.0, 0, 0, 0], [1, 2, 3, 6]])
CENTRED = np.array([[3.0, -1, -1, -1], [-2, -1, 0, 3]])


def test_a_linear_model_is_explained_by_its_centred_weights() -> None:
    hypothetical, observed = corrected_saliency(Linear(WEIGHT), _one_hot("AT", "CG"))
    np.testing.assert_array_equal(hypothetical, [CENTRED, CENTRED])
    np.testing.assert_array_equal(observed[0], [[3, 0, 0, 0], [0, 0, 0, 3]])
    np.testing.assert_array_equal(observed[1], [[0, -1, 0, 0], [0, 0, 0, 0]])
    assert hypothetical.dtype == observed.dtype == np.float32


def test_each_sequence_of_a_nonlinear_model_has_its_own_gradient_whatever_the_batch_size() -> None:
    x = _one_hot("AT", "CC", "AA")  # w . x = 10, 2, 5
    expected = np.stack([2 * 10 * CENTRED, 2 * 2 * CENTRED, 2 * 5 * CENTRED])
    for batch_size in (1, 2, 256):
        np.testing.assert_array_equal(
            corrected_saliency(Square(WEIGHT), x, batch_size=batch_size).hypothetical, expected
        )


def test_a_constant_added_to_all_four_letters_changes_nothing() -> None:
    x = _one_hot("GT")
    plain = corrected_saliency(Linear(WEIGHT), x)
    shifted = corrected_saliency(Linear(WEIGHT + np.array([[8.0], [-16.0]])), x)
    np.testing.assert_array_equal(plain.hypothetical, shifted.hypothetical)


def test_n_contributes_nothing() -> None:
    x = _one_hot("NA")
    assert x[0, 0].sum() == 0
    observed = corrected_saliency(Linear(WEIGHT), x).observed
    np.testing.assert_array_equal(observed[0], [[0, 0, 0, 0], [-2, 0, 0, 0]])


def test_the_output_asked_for_is_explained_in_evaluation_mode() -> None:
    hypothetical = corrected_saliency(TwoOutputs(WEIGHT).train(), _one_hot("AT"), output=1).hypothetical
    np.testing.assert_array_equal(hypothetical[0], -3 * CENTRED)


def test_the_model_is_left_as_it_was() -> None:
    model = TwoOutputs(WEIGHT).train()
    model.norm.eval()
    model.weight.grad = torch.full_like(model.weight, 7.0)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with torch.no_grad():
        corrected_saliency(model, _one_hot("AT"))
    assert model.training
    assert model.drop.training
    assert not model.norm.training
    assert torch.equal(model.weight.grad, torch.full_like(model.weight, 7.0))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    "x",
    [np.zeros((2, 4)), np.zeros((1, 4, 5)), np.full((1, 2, 4), 0.5), np.ones((1, 2, 4))],
    ids=["two axes", "channels not last", "fractions", "several letters at once"],
)
def test_what_is_not_one_hot_is_refused(x: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="one-hot"):
        corrected_saliency(Linear(WEIGHT), x)


def test_an_output_the_model_lacks_is_refused() -> None:
    with pytest.raises(ShapeError, match="outputs 0 to 1; 2"):
        corrected_saliency(TwoOutputs(WEIGHT), _one_hot("AT"), output=2)
