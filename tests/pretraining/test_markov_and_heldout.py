"""Baselines by hand, and scores at the same positions for all."""

import math

import numpy as np
import pytest

from glmstore.models.architectures.gpn import initialise
from glmstore.models.gpn_config import GPNConfig
from glmstore.pretraining import heldout, markov
from glmstore.pretraining.corpus import Piece, to_ids
from glmstore.pretraining.markov import ContextModel, baselines, scorable


def test_a_markov_chain_is_add_one_counts():
    model = ContextModel.fit([to_ids("AACAA"), to_ids("AAG")], (-1,))
    # A is followed by A three times, by C once and by G once; the two stretches do not touch.
    assert np.exp(model.log_probability[0]).tolist() == pytest.approx([4 / 9, 2 / 9, 2 / 9, 1 / 9])


def test_flanks_predict_the_middle_and_leave_n_out():
    model = ContextModel.fit([to_ids("ACGTACG" * 3), to_ids("ACGNACG")], (-3, -2, -1, 1, 2, 3))
    window = to_ids("ACGTACG")[None]
    (nll,) = model.nll(window, np.array([0]), np.array([3]))
    assert nll == pytest.approx(-math.log((3 + 1) / (3 + 4)))


def test_probabilities_of_every_context_sum_to_one():
    rng = np.random.default_rng(0)
    for model in baselines([rng.integers(3, 7, 5_000).astype(np.uint8)]).values():
        np.testing.assert_allclose(np.exp(model.log_probability).sum(axis=1), 1)


def test_positions_near_an_end_or_an_n_are_not_scored():
    window = to_ids("ACGTACGTACGTNACGTACGTACGT")
    assert np.flatnonzero(scorable(window[None])[0]).tolist() == [5, 6, 18, 19]


def test_windows_tile_pieces_and_masks_lie_apart():
    rng = np.random.default_rng(0)
    ids = heldout.windows(
        [Piece("a", 0, rng.integers(3, 7, 500).astype(np.uint8)), Piece("b", 0, to_ids("ACGT"))]
    )
    assert ids.shape == (2, 192)
    hidden = heldout.mask_apart(ids, seed=0).hidden
    for row in hidden:
        assert set(np.diff(np.flatnonzero(row))) == {16}
    assert heldout.mask_at_random(ids, 0.15, 0).hidden.sum() == pytest.approx(0.15 * 2 * 182, abs=25)


def test_every_predictor_is_scored_at_the_same_positions_and_uniform_is_ln_4():
    rng = np.random.default_rng(0)
    train = [rng.integers(3, 7, 20_000).astype(np.uint8)]
    ids = heldout.windows([Piece("a", 0, rng.integers(3, 7, 20_000).astype(np.uint8))])
    network = initialise(GPNConfig(hidden_size=8, n_layers=1, kernel_size=3), 0)
    scores = heldout.score(network, baselines(train), ids, mask_fraction=0.15, seed=0)
    for found in (scores.masked15, scores.separated):
        assert list(found) == ["model", "uniform", *(f"markov{k}" for k in range(1, 6)), "flank3"]
        assert found["uniform"] == math.log(4)
        # Random bases hold nothing to learn: smoothed counts must not look better than uniform.
        assert all(value > math.log(4) - 0.01 for value in found.values())
    assert scores.gain_over_flank3 == pytest.approx(scores.separated["flank3"] - scores.separated["model"])
    best = min((v, k) for k, v in scores.separated.items() if k != "model")
    assert (scores.gain_over_best, scores.best_baseline) == (
        pytest.approx(best[0] - scores.separated["model"]),
        best[1],
    )
    assert scores.slice_windows == scores.windows == scores.windows_available == len(ids)
    assert scores.slice_nll == pytest.approx(scores.masked15["model"])


def test_no_more_windows_are_scored_than_asked_for():
    rng = np.random.default_rng(0)
    pieces = [rng.integers(3, 7, 20_000).astype(np.uint8)]
    ids = heldout.windows([Piece("a", 0, pieces[0])])
    network = initialise(GPNConfig(hidden_size=8, n_layers=1, kernel_size=3), 0)
    scores = heldout.score(network, baselines(pieces), ids, mask_fraction=0.15, seed=0, limit=30)
    assert (scores.windows, scores.windows_available) == (30, len(ids))
    assert scores.separated_positions < 30 * (192 / 16 + 1)
    few, more = (heldout.some(ids, limit, seed=3) for limit in (10, 40))
    assert {row.tobytes() for row in few} < {row.tobytes() for row in more}
    assert heldout.some(ids, None, seed=3) is ids


def test_counts_do_not_depend_on_the_blocks_they_are_made_in(monkeypatch):
    ids = np.random.default_rng(1).integers(2, 7, 1_000).astype(np.uint8)
    whole = baselines([ids])
    monkeypatch.setattr(markov, "_BLOCK", 7)
    for name, model in baselines([ids]).items():
        assert np.array_equal(model.log_probability, whole[name].log_probability)


def test_a_gain_counts_only_beyond_its_error():
    base = heldout.HeldOutScores(
        windows=1,
        windows_available=1,
        window_nt=192,
        masked15_positions=1,
        masked15={},
        slice_windows=1,
        slice_nll=1.0,
        separated_positions=1,
        separated={},
        gain_over_flank3=0.01,
        gain_se=0.006,
        best_baseline="flank3",
        gain_over_best=0.01,
        best_se=0.004,
    )
    assert not base.beats_baselines
    clear = base.model_copy(update={"gain_se": 0.004})
    assert clear.beats_baselines
    assert not clear.model_copy(update={"gain_over_best": 0.007}).beats_baselines
