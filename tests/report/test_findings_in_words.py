from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from glmstore.report.leaderboard import leaderboard
from glmstore.report.summary import headlines, verdicts
from glmstore.report.text import fact_text, head_text, minus, outcome

if TYPE_CHECKING:
    from conftest import Lab


@pytest.mark.parametrize(
    ("low", "high", "side"),
    [(0.01, 0.2, "above"), (-0.2, -0.01, "below"), (-0.1, 0.1, "level"), (0.0, 0.1, "level")],
)
def test_only_an_interval_clear_of_zero_decides(low: float, high: float, side: str) -> None:
    assert outcome(low, high) == side


def test_a_verdict_names_both_controls_and_says_which_way_it_went(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=2.0, one_hot=0.3)
    (verdict,) = verdicts(leaderboard(lab.store))
    assert verdict.subject == "gpn-mini, ridge on L5 mean"
    (twin, twin_side, twin_words), (hot, hot_side, hot_words) = verdict.claims
    assert (twin, twin_side) == ("its random twin", "above")
    assert twin_words.startswith("beats its random twin by 0.")
    assert (hot, hot_side) == ("one-hot under the same head", "below")
    assert hot_words.startswith("falls short of one-hot under the same head by 0.")
    assert verdict.caveat == ""


def test_an_undecided_comparison_is_not_called_a_win(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "gpn-mini", noise=1.0)
    lab.cell("mpra", "rand_init:gpn-mini:0", noise=1.0, control="random_twin")
    (verdict,) = verdicts(leaderboard(lab.store))
    ((_, side, words),) = verdict.claims
    assert side == "level"
    assert words.startswith("does not beat its random twin (Δ ")
    assert verdict.caveat == "controls missing: one-hot"


def test_the_headline_counts_wins_against_each_control(lab: Lab) -> None:
    for name in ("a", "b"):
        lab.benchmark(name)
        lab.panel(name, model=0.8, twin=2.0, one_hot=0.3)
    assert headlines(leaderboard(lab.store)) == [
        "gpn-mini beats its random twin in 2 of 2 comparisons (0 undecided, 0 worse) and beats one-hot under "
        "the same head in 0 of 2 comparisons (0 undecided, 2 worse)."
    ]


def test_a_model_without_controls_makes_no_claim(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "gpn-mini")
    assert headlines(leaderboard(lab.store)) == ["gpn-mini has no control to be compared with."]


def test_where_low_values_are_good_a_fall_is_a_win(lab: Lab) -> None:
    lab.benchmark("cagi5_f9", label_kind="variant_effect")
    cosine = {"head": "cosine", "view": "-", "seeds": 1, "expected_sign": "negative"}
    lab.cell("cagi5_f9", "rand_init:gpn-mini:0", noise=9.0, control="random_twin", **cosine)
    lab.cell("cagi5_f9", "gpn-mini", noise=0.5, flipped=True, **cosine)
    (verdict,) = verdicts(leaderboard(lab.store))
    assert verdict.subject == "gpn-mini, cosine"
    assert verdict.score.endswith("(the lower the better)")
    ((_, side, words),) = verdict.claims
    assert side == "above"
    assert words.startswith("beats its random twin by 0.")


@pytest.mark.parametrize(
    ("head", "protocol", "text"),
    [
        ("ridge", "glmstore", "ridge"),
        ("mlp", "glmstore, tuned, 8 trials of 9 epochs", "mlp, tuned, 8 trials of 9 epochs"),
        ("mlp", "glmstore, permuted labels", "mlp, permuted labels"),
        ("cnn", "tang2025_paper", "cnn, tang2025_paper"),
    ],
)
def test_a_protocol_of_its_own_shows_beside_the_head(head: str, protocol: str, text: str) -> None:
    assert head_text(head, protocol) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (50518, "50,518"),
        (0.912345, "0.9123"),
        ("none", "none"),
        ("A" * 230, "AAAAAAAAAAAAAAAA… (230 characters)"),
    ],
)
def test_facts_are_written_short(value: float | str, text: str) -> None:
    assert fact_text(value) == text


def test_minus_signs_replace_hyphens_before_numbers_only() -> None:
    assert minus("gpn-mini-2 on one-hot: -0.004 [-0.1, 0.1]") == "gpn-mini-2 on one-hot: −0.004 [−0.1, 0.1]"
