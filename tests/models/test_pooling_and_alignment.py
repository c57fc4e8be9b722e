"""Pooling leaves out what is no nucleotide; alignment gives every nucleotide its token."""

import pytest
import torch

from glmstore.errors import PoolingError, ShapeError
from glmstore.models.alignment import to_nucleotide
from glmstore.models.base import Batch
from glmstore.models.pooling import flip_tokens, nucleotide_mean, pool, real_tokens


@pytest.fixture
def batch() -> Batch:
    """Two sequences behind a CLS: tokens of 2 and 1 nt, and a single token of 3 nt; right padding."""
    special = torch.tensor([[True, False, False], [True, False, True]])
    return Batch(
        ids=torch.zeros(2, 3, dtype=torch.int64),
        attention_mask=torch.tensor([[True, True, True], [True, True, False]]),
        special_mask=special,
        spans=torch.tensor([[[0, 0], [0, 2], [2, 3]], [[0, 0], [0, 3], [0, 0]]], dtype=torch.int32),
        lengths=torch.tensor([3, 3]),
    )


@pytest.fixture
def hidden() -> torch.Tensor:
    return torch.tensor([[[9.0, 9.0], [1.0, -4.0], [3.0, -2.0]], [[8.0, 8.0], [5.0, -6.0], [100.0, 100.0]]])


def test_mean_and_max_leave_out_specials_and_padding(hidden: torch.Tensor, batch: Batch):
    assert pool(hidden, batch, "mean").tolist() == [[2, -3], [5, -6]]
    assert pool(hidden, batch, "max").tolist() == [[3, -2], [5, -6]]


def test_mean_and_max_stand_one_behind_the_other(hidden: torch.Tensor, batch: Batch):
    assert pool(hidden, batch, "mean+max").tolist() == [[2, -3, 3, -2], [5, -6, 5, -6]]


def test_a_windowed_mean_counts_nucleotides_not_tokens(hidden: torch.Tensor, batch: Batch):
    found = pool(hidden, batch, "windowed-mean")
    torch.testing.assert_close(found, to_nucleotide(hidden, batch).mean(dim=1))
    torch.testing.assert_close(found[0], torch.tensor([5 / 3, -10 / 3]))


def test_a_mean_within_an_interval_weighs_tokens_by_what_of_them_lies_inside(
    hidden: torch.Tensor, batch: Batch
):
    found = nucleotide_mean(hidden, batch, torch.tensor([[1, 3], [0, 1]]))
    assert found.tolist() == [[2, -3], [5, -6]]
    assert nucleotide_mean(hidden, batch, torch.tensor([[2, 3], [0, 3]])).tolist() == [[3, -2], [5, -6]]


def test_numbers_on_padding_never_reach_a_mean(hidden: torch.Tensor, batch: Batch):
    hidden[1, 2] = float("nan")
    for pooling in ("mean", "max", "mean+max", "windowed-mean"):
        assert pool(hidden, batch, pooling)[1].unique().tolist() == [-6, 5]
    assert to_nucleotide(hidden, batch).isfinite().all()


def test_cls_is_the_first_token(hidden: torch.Tensor, batch: Batch):
    assert pool(hidden, batch, "cls").tolist() == [[9, 9], [8, 8]]


def test_pooling_is_done_in_float32(hidden: torch.Tensor, batch: Batch):
    assert pool(hidden.bfloat16(), batch, "mean").dtype == torch.float32


def test_tokens_are_not_a_pooling_of_this_kind(hidden: torch.Tensor, batch: Batch):
    for pooling in ("tokens", "nucleotides"):
        with pytest.raises(PoolingError, match="real_tokens or to_nucleotide"):
            pool(hidden, batch, pooling)


def test_real_tokens_keep_order_and_pad_with_zeros(hidden: torch.Tensor, batch: Batch):
    values, counts = real_tokens(hidden, batch)
    assert counts.tolist() == [2, 1]
    assert values.tolist() == [[[1, -4], [3, -2]], [[5, -6], [0, 0]]]


def test_flipping_turns_tokens_and_leaves_padding_at_the_right():
    values = torch.tensor([[[1.0], [2.0], [3.0]], [[4.0], [5.0], [0.0]]])
    assert flip_tokens(values, torch.tensor([3, 2])).tolist() == [[[3], [2], [1]], [[5], [4], [0]]]


def test_alignment_repeats_each_token_over_its_span(hidden: torch.Tensor, batch: Batch):
    assert to_nucleotide(hidden, batch).tolist() == [[[1, -4], [1, -4], [3, -2]], [[5, -6]] * 3]


def test_alignment_pads_shorter_sequences_with_zeros_behind_a_final_special():
    batch = Batch(
        ids=torch.zeros(2, 4, dtype=torch.int64),
        attention_mask=torch.tensor([[True] * 4, [True, True, True, False]]),
        special_mask=torch.tensor([[True, False, False, True], [True, False, True, True]]),
        spans=torch.tensor(
            [[[0, 0], [0, 1], [1, 4], [0, 0]], [[0, 0], [0, 2], [0, 0], [0, 0]]], dtype=torch.int32
        ),
        lengths=torch.tensor([4, 2]),
    )
    hidden = torch.tensor([[[9.0], [1.0], [2.0], [9.0]], [[9.0], [3.0], [9.0], [9.0]]])
    assert to_nucleotide(hidden, batch).squeeze(-1).tolist() == [[1, 2, 2, 2], [3, 3, 0, 0]]


def test_alignment_refuses_spans_that_do_not_add_up(hidden: torch.Tensor, batch: Batch):
    with pytest.raises(ShapeError, match="sequence 1: its tokens span 3 of 4 nt"):
        to_nucleotide(hidden, batch._replace(lengths=torch.tensor([3, 4])))
