"""The one sentence on a benchmark: whether its best model beats the best control of the sequence alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from glmstore.report.differences import differences
from glmstore.report.text import Outcome, head_text

NO_CONTROL = "No sequence control (one-hot, k-mers) has a result here."


@dataclass(frozen=True)
class Finding:
    """The best model of a benchmark against the best sequence control of any head.

    Attributes
    ----------
    benchmark, metric
        Where.
    words
        A sentence.
    shade
        Which way it went; None where nothing could be compared.
    """

    benchmark: str
    metric: str
    words: str
    shade: Outcome | None


def findings(frame: pl.DataFrame) -> list[Finding]:
    """Return the sentence of every benchmark and metric of a leaderboard, in its order.

    Parameters
    ----------
    frame
        What `leaderboard` returned.
    """
    scored = _scored(frame)
    found = []
    for (benchmark, metric), part in scored.group_by("benchmark", "metric", maintain_order=True):
        model, control = best_line(part, "none"), best_line(part, "sequence")
        words, shade = _sentence(model, control)
        found.append(Finding(str(benchmark), str(metric), words, shade))
    return found


def best_line(rows: pl.DataFrame, control: str) -> dict[str, Any] | None:
    """Return the best of the rows of that kind of control ("none": models); None where there is none."""
    kind = _scored(rows).filter(pl.col("control") == control)
    worth = pl.when(pl.col("better") == "higher").then(pl.col("value")).otherwise(-pl.col("value"))
    return next(kind.sort(worth, descending=True, maintain_order=True).iter_rows(named=True), None)


def _scored(frame: pl.DataFrame) -> pl.DataFrame:
    from glmstore.metrics import METRICS

    finished = (pl.col("status") == "ok") & pl.col("value").is_not_null()
    return frame.filter(finished & pl.col("metric").is_in(list(METRICS)))


def _sentence(
    model: Mapping[str, Any] | None, control: Mapping[str, Any] | None
) -> tuple[str, Outcome | None]:
    if model is None:
        best = f"The best sequence control is {_named(control)}; no" if control else "No"
        return f"{best} model has a result here.", None
    if model["best_control"] is None:
        return NO_CONTROL, None
    rival = f"{model['best_control_value']:.3f} ({model['best_control']}, {model['best_control_head']})"
    ours, theirs = f"The best model, {_named(model)},", f"the best sequence control, {rival}"
    heads = _heads(head_text(model["head"], model["protocol"]), model["best_control_head"])
    difference = differences(model).get("best")
    if difference is None:
        return (
            f"{ours} cannot be set against {theirs}: there are no predictions of the same test items.",
            None,
        )
    if difference.side in {"above", "below"}:
        way = "better" if difference.side == "above" else "worse"
        return f"{ours} is {way} than {theirs}, by {difference.size}, under {heads}.", difference.shade
    return f"{ours} is not told apart from {theirs}: Δ {difference.text}, under {heads}.", "level"


def _heads(ours: str, theirs: str) -> str:
    if ours == theirs:
        return "the same head"
    same = ours.partition(", ")[0] == theirs.partition(", ")[0]
    return "the same head trained otherwise" if same else "different heads"


def _named(row: Mapping[str, Any]) -> str:
    return f"{row['value']:.3f} ({row['model']}, {head_text(row['head'], row['protocol'])})"
