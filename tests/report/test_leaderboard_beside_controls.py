from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from scipy.stats import pearsonr

from glmstore.errors import UnknownNameError
from glmstore.report.leaderboard import leaderboard
from glmstore.report.panel import made_from

if TYPE_CHECKING:
    from conftest import Lab

FIRST = [
    "model",
    "view",
    "benchmark",
    "split",
    "head",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "seeds",
    "protocol",
]


def line(board: pl.DataFrame, **equals: str) -> dict[str, object]:
    found = board.filter(*(pl.col(k) == v for k, v in equals.items()))
    assert found.height == 1, found
    return found.row(0, named=True)


def test_an_empty_store_gives_an_empty_board_with_the_promised_columns(lab: Lab) -> None:
    board = leaderboard(lab.store)
    assert board.is_empty()
    assert board.columns[:12] == FIRST
    assert board.columns[-3:] == ["pretraining_overlap", "status", "error"]


def test_a_model_stands_beside_its_twin_and_one_hot_with_paired_differences(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=2.0, one_hot=0.3)
    row = line(leaderboard(lab.store), model="gpn-mini")
    assert row["controls"] == "complete"
    assert 0 < row["delta_vs_twin_low"] < row["delta_vs_twin"] < row["delta_vs_twin_high"]
    assert row["delta_vs_onehot_low"] < row["delta_vs_onehot"] < row["delta_vs_onehot_high"] < 0


def test_random_twins_are_one_line_that_is_the_mean_over_initialisations_and_seeds(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=1.5, one_hot=0.3)
    rows = lab.store.results().filter(pl.col("control") == "random_twin", pl.col("metric") == "pearson_r")
    twin = line(leaderboard(lab.store), model="rand_init:gpn-mini")
    each = [
        pearsonr(part["label"], part["prediction"]).statistic
        for part in lab.store.predictions(rows["cell_key"].to_list()).partition_by("cell_key", "seed")
    ]
    assert len(each) == 4
    assert twin["value"] == pytest.approx(np.mean(each), abs=1e-12)
    assert twin["ci_low"] < twin["value"] < twin["ci_high"]
    assert twin["seeds"] == 4
    assert twin["view"] == "rand_init:gpn-mini/5/mean/forward/float16"


def test_the_difference_to_the_twin_is_the_difference_of_the_two_lines(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=1.5, one_hot=0.3)
    board = leaderboard(lab.store)
    model, twin = line(board, model="gpn-mini"), line(board, model="rand_init:gpn-mini")
    assert model["delta_vs_twin"] == pytest.approx(model["value"] - twin["value"], abs=1e-12)


def test_twins_can_be_shown_one_by_one_without_changing_the_differences(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=1.5, one_hot=0.3)
    whole, expanded = leaderboard(lab.store), leaderboard(lab.store, expand_twins=True)
    names = expanded.filter(pl.col("control") == "random_twin")["model"].to_list()
    assert sorted(names) == ["rand_init:gpn-mini:0", "rand_init:gpn-mini:1"]
    pick = {"model": "gpn-mini"}
    assert line(whole, **pick)["delta_vs_twin"] == line(expanded, **pick)["delta_vs_twin"]


def test_missing_controls_are_named(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "gpn-mini")
    row = line(leaderboard(lab.store), model="gpn-mini")
    assert row["controls"] == "missing: random twin, one-hot"
    assert row["delta_vs_twin"] is None


def test_a_twin_of_another_layer_is_no_control(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=1.5, one_hot=0.3)
    lab.cell("mpra", "gpn-mini", view="gpn-mini/2/mean/forward/float16@0123abcd")
    rows = leaderboard(lab.store).filter(pl.col("model") == "gpn-mini").sort("view")
    assert rows["controls"].to_list() == ["missing: random twin", "complete"]


def test_one_hot_under_another_head_is_no_control(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=1.5, one_hot=0.3)
    lab.cell("mpra", "gpn-mini", head="mlp")
    row = line(leaderboard(lab.store), model="gpn-mini", head="mlp")
    assert row["controls"] == "missing: random twin, one-hot"


def test_failed_controls_and_failed_models_stay_on_the_board_last(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "gpn-mini")
    lab.cell(
        "mpra", "onehot", view="onehot/0/tokens/forward/uint8@o", control="sequence", error="HeadError: no"
    )
    lab.cell("mpra", "nt-v2", error="MemoryError: out of memory")
    board = leaderboard(lab.store)
    assert board["status"].to_list() == ["ok", "failed", "failed"]
    assert line(board, model="gpn-mini")["controls"] == "missing: random twin; failed: one-hot"
    assert line(board, model="nt-v2")["error"] == "MemoryError: out of memory"


def test_a_failed_cell_of_a_benchmark_that_was_never_registered_is_shown(lab: Lab) -> None:
    lab.cell("gone", "gpn-mini", error="FetchError: cannot get it")
    board = leaderboard(lab.store)
    assert board.select("benchmark", "status").rows() == [("gone", "failed")]


def test_each_benchmark_is_shown_by_its_first_metric_unless_asked_otherwise(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.benchmark("tf", label_kind="binary", metrics=("auroc", "mcc"))
    for name in ("mpra", "tf"):
        lab.cell(name, "gpn-mini", noise=0.5)
    assert leaderboard(lab.store)["metric"].to_list() == ["pearson_r", "auroc"]
    everything = leaderboard(lab.store, all_metrics=True)["metric"].to_list()
    assert everything == ["pearson_r", "spearman_rho", "auroc", "mcc"]
    assert leaderboard(lab.store, metric="mcc")["metric"].to_list() == ["mcc"]


def test_rows_are_sorted_by_benchmark_then_best_value_first(lab: Lab) -> None:
    for name in ("b", "a"):
        lab.benchmark(name)
        for model, noise in (("weak", 3.0), ("strong", 0.2), ("middling", 1.0)):
            lab.cell(name, model, noise=noise)
    board = leaderboard(lab.store)
    assert board["benchmark"].to_list() == ["a"] * 3 + ["b"] * 3
    assert board["model"].to_list() == ["strong", "middling", "weak"] * 2


def test_filtering_by_model_keeps_the_controls_it_is_read_beside(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=1.5, one_hot=0.3)
    lab.cell("mpra", "other-model")
    board = leaderboard(lab.store, model="gpn-mini")
    assert set(board["model"]) == {"gpn-mini", "rand_init:gpn-mini", "onehot"}
    assert line(board, model="gpn-mini")["controls"] == "complete"


@pytest.mark.parametrize("name", ["benchmark", "metric", "model"])
def test_a_filter_that_matches_nothing_is_an_error_with_a_suggestion(lab: Lab, name: str) -> None:
    lab.benchmark("sortseq_lac")
    lab.cell("sortseq_lac", "gpn-mini")
    typo = {"benchmark": "sortsec_lac", "metric": "pearson", "model": "gpn-mni"}[name]
    right = {"benchmark": "sortseq_lac", "metric": "pearson_r", "model": "gpn-mini"}[name]
    with pytest.raises(UnknownNameError, match=f"Did you mean .*{right}"):
        leaderboard(lab.store, **{name: typo})


def test_of_two_runs_of_one_line_the_one_with_more_seeds_stands(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "gpn-mini", seeds=3)
    lab.cell("mpra", "gpn-mini", seeds=2)
    assert leaderboard(lab.store)["seeds"].to_list() == [3]


def test_of_two_runs_with_equal_seeds_the_later_one_stands(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "gpn-mini", noise=0.2, draw=0)
    lab.cell("mpra", "gpn-mini", noise=3.0, draw=1)
    (value,) = leaderboard(lab.store)["value"]
    assert value < 0.6


def test_zero_shot_scores_ask_for_a_twin_but_not_for_one_hot(lab: Lab) -> None:
    lab.benchmark("cagi5_f9", label_kind="variant_effect")
    lab.cell("cagi5_f9", "gpn-mini", head="llr", view="-", seeds=1)
    lab.cell(
        "cagi5_f9", "rand_init:gpn-mini:0", head="llr", view="-", seeds=1, control="random_twin", noise=5.0
    )
    row = line(leaderboard(lab.store), model="gpn-mini")
    assert row["controls"] == "complete"
    assert row["delta_vs_twin_low"] > 0
    assert row["delta_vs_onehot"] is None


def test_predictions_on_other_items_are_not_compared_and_the_row_says_so(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "gpn-mini")
    lab.cell("mpra", "rand_init:gpn-mini:0", control="random_twin", n_items=100)
    row = line(leaderboard(lab.store), model="gpn-mini")
    assert row["controls"] == "on other test items: random twin; missing: one-hot"
    assert row["delta_vs_twin"] is None


def test_controls_without_predictions_are_named(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "gpn-mini")
    lab.cell("mpra", "rand_init:gpn-mini:0", control="random_twin", predictions=False)
    row = line(leaderboard(lab.store), model="gpn-mini")
    assert row["controls"] == "without stored predictions: random twin; missing: one-hot"


def test_a_second_look_gives_the_same_numbers_without_reading_predictions(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=1.5, one_hot=0.3)
    first = leaderboard(lab.store)

    def refuse(self: object, cell_keys: object) -> None:
        raise AssertionError("predictions were read again")

    monkeypatch.setattr(type(lab.store), "predictions", refuse)
    assert leaderboard(lab.store).equals(first)


def test_a_cell_that_is_computed_again_with_other_numbers_is_compared_again(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=1.5, one_hot=0.3)
    before = line(leaderboard(lab.store), model="gpn-mini")
    lab.cell("mpra", "gpn-mini", noise=5.0)
    after = line(leaderboard(lab.store), model="gpn-mini")
    assert after["delta_vs_twin"] < before["delta_vs_twin"]
    assert after["delta_vs_twin"] < 0


def test_the_board_is_json_without_nan(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "constant", noise=1.0)
    lab.cell("mpra", "gpn-mini", error="boom")
    text = json.dumps(leaderboard(lab.store).to_dicts(), allow_nan=False)
    assert {row["model"] for row in json.loads(text)} == {"constant", "gpn-mini"}


def test_a_failed_control_without_a_metric_counts_for_every_metric(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "gpn-mini")
    lab.cell("mpra", "rand_init:gpn-mini:0", control="random_twin", error="boom", metric="-")
    board = leaderboard(lab.store, all_metrics=True).filter(pl.col("model") == "gpn-mini")
    assert board["controls"].to_list() == ["failed: random twin; missing: one-hot"] * 2


def test_a_tuned_head_and_permuted_labels_are_contests_of_their_own(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=1.5, one_hot=0.3)
    lab.cell("mpra", "gpn-mini", protocol="glmstore, tuned")
    lab.cell("mpra", "gpn-mini", protocol="glmstore, permuted labels", control="label", noise=50.0)
    board = leaderboard(lab.store)
    assert line(board, model="gpn-mini", protocol="glmstore")["controls"] == "complete"
    tuned = line(board, model="gpn-mini", protocol="glmstore, tuned")
    assert tuned["controls"] == "missing: random twin, one-hot"
    assert line(board, control="label")["controls"] == "control"


def test_a_similarity_that_should_fall_ranks_its_lowest_value_first(lab: Lab) -> None:
    lab.benchmark("cagi5_f9", label_kind="variant_effect")
    cosine = {"head": "cosine", "view": "-", "seeds": 1, "expected_sign": "negative"}
    lab.cell("cagi5_f9", "rand_init:gpn-mini:0", noise=9.0, control="random_twin", **cosine)
    lab.cell("cagi5_f9", "gpn-mini", noise=0.5, flipped=True, **cosine)
    board = leaderboard(lab.store)
    assert board["model"].to_list() == ["gpn-mini", "rand_init:gpn-mini"]
    row = line(board, model="gpn-mini")
    assert row["better"] == "lower"
    assert row["value"] < 0
    assert row["delta_vs_twin_high"] < 0


def test_a_number_that_is_no_metric_of_predictions_is_shown_and_not_compared(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "gpn-mini", head="gia:CRP", site_effects=(0.5, 0.1))
    row = line(leaderboard(lab.store, metric="gia_effect"))
    assert (row["value"], row["controls"]) == (0.5, "not compared")


def test_results_of_items_a_benchmark_no_longer_has_are_left_out(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "gpn-mini", noise=0.1, seeds=5)
    lab.cell("mpra", "onehot", control="sequence", error="OutOfMemory: gone with the old items")
    lab.benchmark("mpra")
    assert leaderboard(lab.store).is_empty()
    lab.cell("mpra", "gpn-mini", noise=3.0, seeds=1, draw=1)
    board = leaderboard(lab.store)
    assert board["seeds"].to_list() == [1]
    assert board["value"][0] < 0.6


def test_a_row_that_does_not_say_what_it_was_measured_on_is_kept(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "gpn-mini", benchmark_digest=None)
    lab.benchmark("mpra")
    assert leaderboard(lab.store).height == 1


def test_one_model_is_shown_with_every_control_made_from_it_or_held_beside_all(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=1.5, one_hot=0.3)
    lab.cell("mpra", "shuf_weights:gpn-mini:0", control="shuffled_weights")
    lab.cell("mpra", "shuf_weights:gpn-mini:1", control="shuffled_weights")
    lab.cell("mpra", "rand_vec:96:0", control="noise")
    lab.cell("mpra", "rand_proj:96:0", control="sequence")
    lab.cell("mpra", "other")
    lab.cell("mpra", "rand_init:other:0", control="random_twin")
    lab.cell("mpra", "shuf_weights:other:0", control="shuffled_weights")
    lab.cell("mpra", "lora:of-gpn-mini")
    assert set(leaderboard(lab.store, model="gpn-mini")["model"]) == {
        *("gpn-mini", "rand_init:gpn-mini", "shuf_weights:gpn-mini:0", "shuf_weights:gpn-mini:1"),
        *("rand_vec:96:0", "rand_proj:96:0", "onehot"),
    }
    shown = leaderboard(lab.store, model="gpn-mini", expand_twins=True)["model"]
    assert {"rand_init:gpn-mini:0", "rand_init:gpn-mini:1"} <= set(shown)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("rand_init:gpn-mini:3", "gpn-mini"),
        ("rand_init:gpn-mini", "gpn-mini"),
        ("shuf_weights:llama-char:runs/a:0", "llama-char:runs/a"),
        ("rand_vec:96:0", None),
        ("lora:shuf_weights", None),
        ("onehot", None),
    ],
)
def test_the_name_of_a_control_says_what_it_was_made_from(name: str, model: str | None) -> None:
    assert made_from(name) == model
