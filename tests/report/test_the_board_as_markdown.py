from __future__ import annotations

from typing import TYPE_CHECKING

from glmstore.report.board import board_markdown, board_rows
from glmstore.report.leaderboard import leaderboard

if TYPE_CHECKING:
    from conftest import Lab

CNN = "glmstore, learning_rate 0.001, width 0.5, 6 epochs at most"


def test_what_the_best_sequence_control_says_stands_above_the_tables_of_a_benchmark(lab: Lab) -> None:
    for name in ("a", "b"):
        lab.benchmark(name)
        lab.panel(name, model=0.8, twin=2.0, one_hot=2.0)
        lab.cell(name, "onehot", head="cnn", protocol=CNN, noise=0.1, control="sequence")
    text = board_markdown(board_rows(leaderboard(lab.store)))
    assert text.count("is worse than the best sequence control, 0.99") == 2
    assert text.startswith("**a, pearson_r.** The best model, 0.")
    assert text.index("**b, pearson_r.**") > text.rindex("### a: ")
    assert text.index("**b, pearson_r.**") < text.index("### b: ")


def test_k_mers_have_a_column_where_there_are_any_and_only_there(lab: Lab) -> None:
    lab.benchmark("mpra")
    for head in ("ridge", "cnn"):
        lab.panel("mpra", head=head, model=0.8, twin=2.0, one_hot=2.0)
    lab.cell("mpra", "kmer4", noise=3.0, control="sequence")
    text = board_markdown(board_rows(leaderboard(lab.store)))
    tables = {part.split("\n", 1)[0]: part for part in text.split("### ")[1:]}
    assert (
        "| minus random twin | minus one-hot | minus k-mers |\n|---|---|---|---|---|" in tables["mpra: ridge"]
    )
    assert "| minus random twin | minus one-hot |\n|---|---|---|---|" in tables["mpra: cnn"]


def test_a_heading_names_the_head_and_the_line_below_it_what_its_training_departs_in(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.cell("mpra", "onehot", head="cnn", protocol=CNN, control="sequence")
    text = board_markdown(board_rows(leaderboard(lab.store)))
    assert "### mpra: cnn\n\n*learning_rate 0.001, width 0.5, 6 epochs at most*\n\n|  | pearson_r" in text


def test_the_lines_hold_every_difference_and_name_the_best_control(lab: Lab) -> None:
    lab.benchmark("mpra")
    lab.panel("mpra", model=0.8, twin=2.0, one_hot=2.0)
    lab.cell("mpra", "kmer4", head="mlp", noise=0.1, control="sequence")
    lines = board_rows(leaderboard(lab.store))
    (model,) = [line for line in lines if line["model"] == "gpn-mini"]
    assert str(model["minus one-hot"]).startswith("+0.")
    assert model["minus k-mers"] == "–"
    assert str(model["minus best control"]).startswith("-0.")
    assert model["best control"] == "kmer4, mlp"
    assert [bool(line["in short"]) for line in lines] == [True, False, False, False]


def test_a_store_without_results_has_a_sentence(lab: Lab) -> None:
    assert board_markdown(board_rows(leaderboard(lab.store))) == "No results yet."
