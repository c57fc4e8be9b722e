"""What the numbers of a leaderboard say, model by model, in plain words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from glmstore.report.contests import COMPLETE
from glmstore.report.differences import RIVALS, differences
from glmstore.report.findings import best_line
from glmstore.report.panel import NO_VIEW
from glmstore.report.text import Outcome, head_text, interval_text, view_text

_SAME_HEAD = {"twin": "its random twin", "onehot": "one-hot", "kmer": "k-mers"}


@dataclass(frozen=True)
class Claim:
    """One comparison in words.

    Attributes
    ----------
    rival
        What the model is held against.
    side
        How it went.
    shade
        How it is coloured: a gain counts for nothing below the best sequence control.
    words
        "beats its random twin by 0.019 [0.011, 0.025]".
    """

    rival: str
    side: Outcome
    shade: Outcome
    words: str


@dataclass(frozen=True)
class Verdict:
    """One model under one head on one benchmark, in words.

    Attributes
    ----------
    benchmark
        Where.
    subject
        Model, head and view: "gpn-mini, ridge on L5 mean".
    score
        "pearson_r 0.553 [0.541, 0.566]".
    claims
        One for each comparison made.
    caveat
        What is missing for a fair reading; empty where nothing is.
    """

    benchmark: str
    subject: str
    score: str
    claims: tuple[Claim, ...]
    caveat: str


def verdicts(frame: pl.DataFrame) -> list[Verdict]:
    """Put every finished model row of a leaderboard into words, in the leaderboard's order."""
    return [_verdict(row) for row in _models(frame).iter_rows(named=True)]


def _models(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter((pl.col("control") == "none") & (pl.col("status") == "ok"))


def _verdict(row: Mapping[str, Any]) -> Verdict:
    on = f" on {view_text(row['view'])}" if row["view"] != NO_VIEW else ""
    return Verdict(
        benchmark=row["benchmark"],
        subject=f"{row['model']}, {head_text(row['head'], row['protocol'])}{on}",
        score=f"{row['metric']} {interval_text(row['value'], row['ci_low'], row['ci_high'])}"
        + (" (the lower the better)" if row["better"] == "lower" else ""),
        claims=tuple(_claims(row)),
        caveat="" if row["controls"] == COMPLETE else f"controls {row['controls']}",
    )


def _claims(row: Mapping[str, Any]) -> Iterator[Claim]:
    for name, found in differences(row).items():
        if found.side is None:
            continue
        rival = RIVALS[name].words
        words = {
            "above": f"beats {rival} by {found.size}",
            "below": f"falls short of {rival} by {found.size}",
            "level": f"does not beat {rival} (Δ {found.text})",
        }
        yield Claim(rival, found.side, found.shade, words[found.side])


def headlines(frame: pl.DataFrame) -> list[str]:
    """Say, for each model, on how many benchmarks its best result beats the best sequence control.

    Then, how often it beats its controls under the same head; one or two sentences a model.
    """
    found = []
    for (model,), part in _models(frame).group_by("model", maintain_order=True):
        said = [f"{text}." for text in (_against_the_best(str(model), part), _under_one_head(part)) if text]
        found.append(" ".join(said) or f"{model} has no control to be compared with.")
    return found


def _against_the_best(model: str, rows: pl.DataFrame) -> str:
    best = [best_line(part, "none") for _, part in rows.group_by("benchmark", "metric", maintain_order=True)]
    sides = Counter(
        found.side for row in best if row and (found := differences(row).get("best")) and found.side
    )
    if not sides.total():
        return ""
    benchmarks = "benchmark" if sides.total() == 1 else "benchmarks"
    return (
        f"The best result of {model} beats the best sequence control on {sides['above']} of {sides.total()} "
        f"{benchmarks} ({_others(sides)})"
    )


def _under_one_head(rows: pl.DataFrame) -> str:
    counts = {name: Counter[Outcome]() for name in _SAME_HEAD}
    for row in rows.iter_rows(named=True):
        for name, found in differences(row).items():
            if name in counts and found.side:
                counts[name][found.side] += 1
    parts = [
        f"{_SAME_HEAD[name]} in {sides['above']} of {sides.total()} comparisons ({_others(sides)})"
        for name, sides in counts.items()
        if sides.total()
    ]
    return f"Under the same head it beats {_listed(parts)}" if parts else ""


def _others(sides: Counter[Outcome]) -> str:
    return f"{sides['level']} undecided, {sides['below']} worse"


def _listed(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]
