"""The card says of a recipe what that recipe is, and "beat" only of weights that are best of all."""

import json
from pathlib import Path
from typing import Any

import pytest

from glmstore.models import gpn_mini
from glmstore.models.gpn_config import GPNConfig
from glmstore.pretraining.card import render

MINI = Path(gpn_mini.__file__).parent / "weights" / "gpn-mini" / "config.json"
PAPER = {
    "crop_lengths": [512],
    "batch_nt": 131_072,
    "learning_rate": 0.001,
    "final_lr_fraction": 1,
    "warmup_fraction": 0,
    "weight_decay": 0,
    "betas": [0.9, 0.999],
    "patience": None,
    "steps": 2_000_000,
    "precision": "float32",
}


@pytest.fixture
def record() -> dict[str, Any]:
    """The record of gpn-mini, to be changed."""
    card: dict[str, Any] = json.loads(MINI.read_text())["glmstore"]
    return card


def test_the_papers_recipe_is_not_described_as_that_of_a_small_model(record):
    record["recipe"] |= PAPER
    record["checkpoint_step"] = 2_000_000
    card = render(record, GPNConfig())
    for wrong in ("scaled to", "cosine", "warm-up", "stand-in", "AdamW", "Autocast", "best point"):
        assert wrong not in card
    for fact in (
        "of the published shape: 65,880,071 parameters",
        "Adam (betas (0.9, 0.999))",
        "constant learning rate 0.001",
        "Arithmetic in float32",
        "sequences of 512 nt",
    ):
        assert fact in card


def test_a_checkpoint_of_a_constant_rate_is_not_said_to_lack_annealing(record):
    record["recipe"] |= PAPER
    card = render(record, GPNConfig())
    assert "Taken from a checkpoint at 1% of the budget.\n" in card
    assert "annealed" not in card


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"warmup_fraction": 0}, "peak learning rate 0.0015, cosine decay to 1 % of the peak"),
        (
            {"final_lr_fraction": 1},
            "constant learning rate 0.0015 after a linear warm-up over 2 % of the budget",
        ),
        ({"final_lr_fraction": 0}, "then cosine decay to 0 % of the peak"),
        ({"mask_fraction": 0.2}, "Masked language modelling: 20 % of positions"),
    ],
)
def test_schedule_and_mask_are_those_of_the_recipe(record, recipe, words):
    record["recipe"] |= recipe
    assert words in render(record, GPNConfig(hidden_size=96, n_layers=8))


def scored(record: dict[str, Any], best: str, se: float = 0.001, **separated: float) -> str:
    scores = record["heldout"]
    scores["separated"] |= separated
    scores["gain_over_flank3"] = scores["separated"]["flank3"] - scores["separated"]["model"]
    scores["gain_over_best"] = scores["separated"][best] - scores["separated"]["model"]
    scores |= {"best_baseline": best, "gain_se": se, "best_se": se}
    return render(record, GPNConfig(hidden_size=96, n_layers=8)).split("**")[1]


def test_weights_worse_than_uniform_are_not_said_to_beat_an_overfitted_baseline(record):
    verdict = scored(record, "markov1", model=1.3890, uniform=1.3863, markov1=1.3862, flank3=1.4100)
    assert "beat" not in verdict
    orders = ", ".join(f"Markov chain, order {k}" for k in (5, 4, 3, 2, 1))
    assert verdict.endswith(f"do worse than baselines: {orders}, uniform (ln 4).")


def test_a_gain_within_its_error_beats_nothing(record):
    verdict = scored(record, "flank3", se=0.01, model=1.25, flank3=1.26)
    assert "not clearly better than the best baseline, ±3 Markov" in verdict


def test_a_clear_gain_over_all_beats_them(record):
    assert "beat the ±3 Markov baseline and all others" in scored(record, "flank3", model=1.2, flank3=1.26)


def test_what_was_left_out_is_said_and_nothing_where_nothing_was(record):
    config = GPNConfig(hidden_size=96, n_layers=8)
    plain = render(record, config)
    assert "Not used at all" not in plain
    assert "gaps" not in plain.replace("gap-free", "")
    record["corpus"] |= {
        "left_out_records": 430,
        "left_out_nt": 121_000_000,
        "left_out_names": ["chr1_KI270706v1_random"],
        "gap_nt": 150_000_000,
    }
    record["recipe"]["holdout"]["leave_out"] = ["_alt$", "_random$"]
    card = render(record, config)
    assert "430 records, 121,000,000 nt" in card
    assert "`_alt$`, `_random$`: chr1_KI270706v1_random, …" in card
    assert "150,000,000 N in runs of ten and more" in card


def test_the_licence_is_the_one_that_was_given(record):
    card = render(record | {"licence": "CC-BY-NC-4.0"}, GPNConfig())
    assert "CC-BY-NC-4.0 for the weights." in card
    assert "Apache" not in card
