"""A model against the best control of the sequence alone, whatever head that control was read with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from glmstore.report.findings import findings
from glmstore.report.leaderboard import leaderboard

if TYPE_CHECKING:
    from conftest import Lab


def row_of(lab: Lab, model: str, **equals: str) -> dict[str, Any]:
    chosen = [pl.col(name) == value for name, value in equals.items()]
    found = leaderboard(lab.store).filter(pl.col("model") == model, *chosen)
    assert found.height == 1, found
    return found.row(0, named=True)


def sentence(lab: Lab) -> tuple[str, str | None]:
    (found,) = findings(leaderboard(lab.store))
    return re.sub(r"\d\.\d{3}", "#", found.words), found.shade


def test_k_mers_under_the_same_head_have_a_paired_difference_as_one_hot_has(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=2.0, one_hot=3.0)
    lab.cell("mpra", "kmer4", noise=0.3, control="sequence")
    row, kmer = row_of(lab, "gpn-mini"), row_of(lab, "kmer4")
    assert row["delta_vs_kmer"] == pytest.approx(row["value"] - kmer["value"], abs=1e-12)
    assert row["delta_vs_kmer_low"] < row["delta_vs_kmer"] < row["delta_vs_kmer_high"] < 0
    assert row["controls"] == "complete"


def test_of_several_k_the_best_is_the_control(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "gpn-mini", noise=0.8)
    lab.cell("mpra", "kmer4", noise=3.0, control="sequence")
    lab.cell("mpra", "kmer6", noise=0.2, control="sequence")
    row, best = row_of(lab, "gpn-mini"), row_of(lab, "kmer6")
    assert row["delta_vs_kmer"] == pytest.approx(row["value"] - best["value"], abs=1e-12)


def test_k_mers_under_another_head_are_no_control_of_this_one_and_none_is_missing(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=2.0, one_hot=3.0)
    lab.cell("mpra", "kmer4", head="mlp", noise=0.3, control="sequence")
    row = row_of(lab, "gpn-mini")
    assert row["delta_vs_kmer"] is None
    assert row["controls"] == "complete"
    assert (row["best_control"], row["best_control_head"]) == ("kmer4", "mlp")


def test_failed_k_mers_are_named(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=2.0, one_hot=3.0)
    lab.cell("mpra", "kmer4", control="sequence", error="HeadError: no")
    assert row_of(lab, "gpn-mini")["controls"] == "failed: k-mers"


def test_the_best_control_is_the_best_finished_one_of_the_benchmark_under_any_head(lab: Lab) -> None:
    for name in ("mpra", "other"):
        lab.benchmark(name)
    lab.panel("mpra", model=0.8, twin=0.1, one_hot=2.0)
    lab.cell("mpra", "onehot", head="cnn", noise=0.3, protocol="glmstore, width 0.5", control="sequence")
    lab.cell("mpra", "kmer4", noise=1.0, control="sequence")
    lab.cell("mpra", "kmer6", head="cnn", control="sequence", error="HeadError: no")
    lab.cell("mpra", "rand_vec:96:0", noise=0.1, control="noise")
    lab.cell("other", "kmer4", noise=0.1, control="sequence")
    row, best = row_of(lab, "gpn-mini"), row_of(lab, "onehot", head="cnn")
    assert (row["best_control"], row["best_control_head"]) == ("onehot", "cnn, width 0.5")
    assert row["best_control_value"] == best["value"]
    assert row["delta_vs_best"] == pytest.approx(row["value"] - best["value"], abs=1e-12)
    assert row["delta_vs_best_low"] < row["delta_vs_best"] < row["delta_vs_best_high"] < 0
    assert best["best_control"] is None


def test_filtering_by_a_model_leaves_its_best_control_as_it_was(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=2.0, one_hot=2.0)
    lab.cell("mpra", "onehot", head="cnn", noise=0.3, control="sequence")
    whole, filtered = leaderboard(lab.store), leaderboard(lab.store, model="gpn-mini")
    assert findings(whole) == findings(filtered)


def test_an_adapter_has_no_one_hot_of_its_own_and_is_held_against_the_best(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "gpn-mini", head="lora", view="-", noise=0.8)
    lab.cell("mpra", "rand_init:gpn-mini:0", head="lora", view="-", noise=2.0, control="random_twin")
    assert row_of(lab, "gpn-mini")["controls"] == "missing: sequence control of any head"
    lab.cell("mpra", "onehot", head="cnn", noise=0.1, control="sequence")
    row = row_of(lab, "gpn-mini")
    assert row["controls"] == "complete"
    assert row["delta_vs_best_high"] < 0


@pytest.mark.parametrize(
    ("noise", "head", "protocol", "words", "shade"),
    [
        (0.1, "cnn", "glmstore", "is worse than {}, by # [#, #], under different heads.", "below"),
        (9.0, "cnn", "glmstore", "is better than {}, by # [#, #], under different heads.", "above"),
        (0.1, "ridge", "glmstore", "is worse than {}, by # [#, #], under the same head.", "below"),
        (
            *(0.1, "ridge", "glmstore, 9 training items"),
            *("is worse than {}, by # [#, #], under the same head trained otherwise.", "below"),
        ),
    ],
)
def test_a_sentence_sets_the_best_model_against_the_best_control_and_names_both(
    lab: Lab, noise: float, head: str, protocol: str, words: str, shade: str
) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "gpn-mini", noise=0.8)
    lab.cell("mpra", "gpn-mini", head="mlp", noise=4.0)
    lab.cell("mpra", "onehot", head=head, protocol=protocol, noise=noise, control="sequence")
    departures = protocol.removeprefix("glmstore")
    rival = f"the best sequence control, # (onehot, {head}{departures})"
    assert sentence(lab) == (f"The best model, # (gpn-mini, ridge), {words.format(rival)}", shade)


def test_equals_are_not_told_apart(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "gpn-mini", noise=5.0)
    lab.cell("mpra", "kmer4", noise=5.0, control="sequence")
    words, shade = sentence(lab)
    assert re.fullmatch(
        r".* is not told apart from the best .*: Δ [+-]# \[-#, \+#\], under the same head\.", words
    )
    assert shade == "level"


def test_what_cannot_be_compared_is_said_and_not_coloured(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "gpn-mini", head="mlp")
    assert sentence(lab) == ("No sequence control (one-hot, k-mers) has a result here.", None)
    lab.cell("mpra", "kmer4", control="sequence", n_items=100)
    words, shade = sentence(lab)
    assert words.endswith("(kmer4, ridge): there are no predictions of the same test items.")
    assert shade is None


def test_controls_alone_have_a_best_one_and_no_model(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "onehot", control="sequence", head="cnn", noise=0.1)
    lab.cell("mpra", "kmer4", control="sequence", noise=3.0)
    best = "The best sequence control is # (onehot, cnn); no model has a result here."
    assert sentence(lab) == (best, None)


def test_every_metric_has_its_sentence_and_numbers_that_are_no_metric_have_none(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=2.0, one_hot=0.3)
    lab.cell("mpra", "onehot", head="gia:CRP", control="sequence", site_effects=(0.5, 0.1))
    found = findings(leaderboard(lab.store, all_metrics=True))
    assert [(f.benchmark, f.metric) for f in found] == [("mpra", "pearson_r"), ("mpra", "spearman_rho")]
