from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from glmstore.report.differences import differences
from glmstore.report.leaderboard import leaderboard
from glmstore.report.terminal import print_leaderboard
from glmstore.report.text import interval_text, minus, view_text

if TYPE_CHECKING:
    from conftest import Lab

LABELS = ("Δ twin", "Δ one-hot", "Δ k-mers", "Δ best")


def printed(lab: Lab, width: int = 110, **filters: bool) -> str:
    board = leaderboard(lab.store, **filters)  # type: ignore[arg-type]
    facts = {name: lab.store.benchmark_facts(name) for name in lab.store.benchmarks()["name"]}
    out = io.StringIO()
    print_leaderboard(board, facts, Console(file=out, width=width))
    return out.getvalue()


@pytest.mark.parametrize(
    ("numbers", "signed", "text"),
    [
        ((0.5531, 0.5412, 0.5664), False, "0.553 [0.541, 0.566]"),
        ((-0.0312, -0.1, 0.04), False, "-0.031 [-0.100, 0.040]"),
        ((0.0312, -0.1, 0.04), True, "+0.031 [-0.100, +0.040]"),
        ((0.5, None, None), False, "0.500"),
        ((None, None, None), False, "–"),
    ],
)
def test_a_value_is_written_with_its_interval(
    numbers: tuple[float | None, ...], signed: bool, text: str
) -> None:
    assert interval_text(*numbers, signed=signed) == text


@pytest.mark.parametrize(
    ("view", "text"),
    [
        ("gpn-mini/5/mean/forward/float16@0a1b2c3d", "L5 mean"),
        ("gpn-mini/5/mean/mean/float16@0a1b2c3d", "L5 mean ±"),
        ("org/model/0/tokens/reverse/uint8@x", "L0 tokens −"),
        ("rand_init:gpn-mini/5/mean/forward/float16", "L5 mean"),
        ("-", "–"),
    ],
)
def test_a_view_is_written_in_a_few_letters(view: str, text: str) -> None:
    assert view_text(view) == text


def test_each_benchmark_has_a_table_with_its_metric_split_n_and_noise_ceiling(lab: Lab) -> None:
    lab.benchmark("mpra", noise_ceiling_pearson_r=0.9123)
    lab.panel("mpra", model=0.8, twin=1.5, one_hot=0.3)
    text = printed(lab)
    assert "mpra  pearson_r, official, n = 240, noise ceiling 0.912" in text
    assert "▸ gpn-mini" in text
    assert "▸ onehot" not in text


@pytest.mark.parametrize("width", [80, 100, 120])
def test_every_number_and_name_is_whole_at_every_width_however_long_the_head_is(lab: Lab, width: int) -> None:
    lab.benchmark("lentimpra_hepg2_inoue2017", noise_ceiling_pearson_r=0.995)
    shared: dict[str, Any] = {
        "head": "cnn",
        "protocol": "glmstore, learning_rate 0.001, width 0.5, 15 epochs at most",
        "seeds": 12,
    }
    lab.cell("lentimpra_hepg2_inoue2017", "gpn-mini", noise=0.8, **shared)
    lab.cell("lentimpra_hepg2_inoue2017", "rand_init:gpn-mini:0", control="random_twin", **shared)
    for model in ("onehot", "kmer4"):
        lab.cell("lentimpra_hepg2_inoue2017", model, control="sequence", **shared)
    text = printed(lab, width=width)
    lines = text.splitlines()
    board = leaderboard(lab.store)
    assert max(map(len, lines)) <= width
    table = text[: text.index("The best model")]
    assert "…" not in table
    for row in board.iter_rows(named=True):
        written = minus(interval_text(row["value"], row["ci_low"], row["ci_high"]))
        (line,) = [line for line in lines if line.removeprefix("▸ ").startswith(f"{row['model']} ")]
        assert written in line
        assert line.split()[-1] == "12"
        for name in differences(row):
            assert minus(differences(row)[name].text) in table
    labels = [label for line in lines for label in LABELS if f" {label} " in line and "[" in line]
    assert labels == list(LABELS)


def test_a_sentence_below_the_table_holds_the_best_model_against_the_best_control(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=1.5, one_hot=0.3)
    text = " ".join(printed(lab, width=80).split())
    assert "(gpn-mini, ridge), is worse than the best sequence control, 0." in text


@pytest.mark.parametrize(("noise", "green"), [(9.0, 3), (0.1, 0)])
def test_no_gain_is_green_while_a_control_under_another_head_is_better(
    lab: Lab, noise: float, green: int
) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=3.0, one_hot=3.0)
    lab.cell("mpra", "onehot", head="cnn", noise=noise, control="sequence")
    out = io.StringIO()
    coloured = Console(file=out, width=100, force_terminal=True, color_system="standard", no_color=False)
    print_leaderboard(leaderboard(lab.store), {}, coloured)
    table = out.getvalue()
    assert len(re.findall(r"\x1b\[32m\+", table)) == green


def test_missing_controls_and_failures_are_said_under_the_table(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "gpn-mini")
    lab.cell("mpra", "kmer4", head="cnn", control="sequence", error="HeadError: [kmer4] is not token-level")
    text = " ".join(printed(lab).split())
    assert "gpn-mini with ridge on L5 mean: controls missing: random twin, one-hot" in text
    assert "failed: kmer4 with cnn on L5 mean: HeadError: [kmer4] is not token-level" in text


def test_a_benchmark_of_which_everything_failed_is_still_shown(lab: Lab) -> None:
    lab.cell("gone", "gpn-mini", error="FetchError: cannot get it")
    text = printed(lab)
    assert text.startswith("gone\n")
    assert "cannot get it" in text


def test_all_metrics_give_a_table_each(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "gpn-mini")
    text = printed(lab, all_metrics=True)
    assert "mpra  pearson_r" in text
    assert "mpra  spearman_rho" in text


def test_the_footer_says_how_many_seeds(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "gpn-mini", seeds=1)
    assert "mean over 1 probe seed;" in " ".join(printed(lab).split())


def test_the_footer_of_controls_alone_counts_no_seeds_of_models(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "kmer4", control="sequence")
    text = " ".join(printed(lab).split())
    assert "No model has a result here; random twins: mean over" in text
    assert "no probe seed" not in text
