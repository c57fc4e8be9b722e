from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from glmstore.report.leaderboard import leaderboard
from glmstore.report.text import fact_text, head_text, minus, outcome
from glmstore.report.verdicts import headlines, verdicts

if TYPE_CHECKING:
    from conftest import Lab


@pytest.mark.parametrize(
    ("low", "high", "side"),
    [(0.01, 0.2, "above"), (-0.2, -0.01, "below"), (-0.1, 0.1, "level"), (0.0, 0.1, "level")],
)
def test_only_an_interval_clear_of_zero_decides(low: float, high: float, side: str) -> None:
    assert outcome(low, high) == side


def test_a_verdict_names_every_control_and_says_which_way_it_went(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=2.0, one_hot=0.3)
    (verdict,) = verdicts(leaderboard(lab.store))
    assert verdict.subject == "gpn-mini, ridge on L5 mean"
    twin, hot, best = verdict.claims
    assert (twin.rival, twin.side) == ("its random twin", "above")
    assert twin.words.startswith("beats its random twin by 0.")
    assert (hot.rival, hot.side) == ("one-hot under the same head", "below")
    assert hot.words.startswith("falls short of one-hot under the same head by 0.")
    assert best.words.startswith("falls short of the best sequence control by 0.")
    assert verdict.caveat == ""


def test_a_gain_below_the_best_sequence_control_of_another_head_is_not_coloured_as_one(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=2.0, one_hot=2.0)
    (alone,) = verdicts(leaderboard(lab.store))
    assert [claim.shade for claim in alone.claims] == ["above", "above", "above"]
    lab.cell("mpra", "onehot", head="cnn", noise=0.1, control="sequence")
    (beside,) = verdicts(leaderboard(lab.store))
    assert [claim.side for claim in beside.claims] == ["above", "above", "below"]
    assert [claim.shade for claim in beside.claims] == ["level", "level", "below"]


def test_a_gain_over_the_twin_alone_is_not_coloured_as_one(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "gpn-mini", noise=0.2)
    lab.cell("mpra", "rand_init:gpn-mini:0", noise=3.0, control="random_twin")
    (verdict,) = verdicts(leaderboard(lab.store))
    assert [(claim.side, claim.shade) for claim in verdict.claims] == [("above", "level")]


def test_a_zero_shot_gain_counts_although_no_sequence_control_can_be_had(lab: Lab) -> None:
    lab.benchmark("cagi5_f9", label_kind="variant_effect")
    lab.cell("cagi5_f9", "gpn-mini", head="llr", view="-", noise=0.2)
    lab.cell("cagi5_f9", "rand_init:gpn-mini:0", head="llr", view="-", noise=3.0, control="random_twin")
    (verdict,) = verdicts(leaderboard(lab.store))
    assert [(claim.side, claim.shade) for claim in verdict.claims] == [("above", "above")]


def test_an_undecided_comparison_is_not_called_a_win(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "gpn-mini", noise=1.0)
    lab.cell("mpra", "rand_init:gpn-mini:0", noise=1.0, control="random_twin")
    (verdict,) = verdicts(leaderboard(lab.store))
    (claim,) = verdict.claims
    assert claim.side == "level"
    assert claim.words.startswith("does not beat its random twin (Δ ")
    assert verdict.caveat == "controls missing: one-hot"


def test_the_headline_counts_wins_against_each_control(lab: Lab) -> None:
    for name in ("a", "b"):
        lab.benchmark(name)
        lab.panel(name, model=0.8, twin=2.0, one_hot=0.3)
    assert headlines(leaderboard(lab.store)) == [
        "The best result of gpn-mini beats the best sequence control on 0 of 2 benchmarks (0 undecided, 2 "
        "worse). Under the same head it beats its random twin in 2 of 2 comparisons (0 undecided, 0 worse) "
        "and one-hot in 0 of 2 comparisons (0 undecided, 2 worse)."
    ]


def test_the_headline_counts_k_mers_and_no_benchmark_twice(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=2.0, one_hot=2.0)
    lab.cell("mpra", "gpn-mini", head="mlp", noise=3.0)
    lab.cell("mpra", "kmer4", noise=3.0, control="sequence")
    (headline,) = headlines(leaderboard(lab.store))
    assert headline.startswith(
        "The best result of gpn-mini beats the best sequence control on 1 of 1 benchmark (0 undecided, 0 "
        "worse)."
    )
    assert headline.endswith(
        "one-hot in 1 of 1 comparisons (0 undecided, 0 worse) and k-mers in 1 of 1 comparisons "
        "(0 undecided, 0 worse)."
    )


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
    (claim,) = verdict.claims
    assert claim.side == "above"
    assert claim.words.startswith("beats its random twin by 0.")


@pytest.mark.parametrize(
    ("head", "protocol", "text"),
    [
        ("ridge", "glmstore", "ridge"),
        ("mlp", "glmstore, tuned, 8 trials of 9 epochs", "mlp, tuned, 8 trials of 9 epochs"),
        ("mlp", "glmstore, permuted labels", "mlp, permuted labels"),
        ("cnn", "tang2025_paper", "cnn, tang2025_paper"),
        ("mlp", "glmstore-tuned", "mlp, tuned"),
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
