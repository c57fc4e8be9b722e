"""What a suite did, and what its numbers say in plain words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from pydantic import Field

from glmstore.config import Frozen
from glmstore.report.contests import COMPLETE
from glmstore.report.panel import NO_VIEW
from glmstore.report.text import Outcome, head_text, interval_text, outcome, view_text


class SuiteSummary(Frozen):
    """What a run did and what it left out; the first page of the report."""

    name: str = Field(description="The suite, or what stands in for one.")
    started: str = Field(description="ISO 8601 time at which the run began, with its zone.")
    seconds: float = Field(ge=0, description="Wall-clock seconds.")
    computed_cells: int = Field(ge=0, description="Cells computed in this run.")
    reused_cells: int = Field(ge=0, description="Cells that the store already held.")
    computed_vectors: int = Field(0, ge=0, description="Feature vectors computed in this run.")
    reused_vectors: int = Field(0, ge=0, description="Feature vectors that the store already held.")
    failed_cells: int = Field(ge=0)
    left_out: tuple[tuple[str, str], ...] = Field((), description="What was not run, and why.")
    notes: tuple[str, ...] = Field((), description="What a reader has to know, one sentence each.")
    seeds: tuple[int, ...] = Field(description="Probe seeds.")


@dataclass(frozen=True)
class Figure:
    """A figure made elsewhere and shown in the report.

    Attributes
    ----------
    title
        Its heading.
    caption
        What it shows, in sentences; also its alternative text.
    png
        The image, as the bytes of a PNG file.
    """

    title: str
    caption: str
    png: bytes


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
        (control, outcome, sentence part) for each comparison made.
    caveat
        What is missing for a fair reading; empty where nothing is.
    """

    benchmark: str
    subject: str
    score: str
    claims: tuple[tuple[str, Outcome, str], ...]
    caveat: str


_RIVALS = {"twin": "its random twin", "onehot": "one-hot under the same head"}


def verdicts(frame: pl.DataFrame) -> list[Verdict]:
    """Put every finished model row of a leaderboard into words, in the leaderboard's order."""
    rows = frame.filter((pl.col("control") == "none") & (pl.col("status") == "ok"))
    return [_verdict(row) for row in rows.iter_rows(named=True)]


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


def _claims(row: Mapping[str, Any]) -> Iterator[tuple[str, Outcome, str]]:
    for column, rival in _RIVALS.items():
        value, low, high = (row[f"delta_vs_{column}{suffix}"] for suffix in ("", "_low", "_high"))
        if value is None or low is None or high is None:
            continue
        side = outcome(low, high, row["better"])
        difference = f"(Δ {interval_text(value, low, high, signed=True)})"
        gain = interval_text(value, low, high) if value > 0 else interval_text(-value, -high, -low)
        words = {
            "above": f"beats {rival} by {gain}",
            "below": f"falls short of {rival} by {gain}",
            "level": f"does not beat {rival} {difference}",
        }
        yield rival, side, words[side]


def headlines(frame: pl.DataFrame) -> list[str]:
    """Count, for each model, how often it beats its controls; one sentence a model."""
    rows = frame.filter((pl.col("control") == "none") & (pl.col("status") == "ok"))
    sentences = []
    for (model,), part in rows.group_by("model", maintain_order=True):
        parts = [text for column, rival in _RIVALS.items() if (text := _count(part, column, rival))]
        sentences.append(f"{model} {' and '.join(parts) or 'has no control to be compared with'}.")
    return sentences


def _count(rows: pl.DataFrame, column: str, rival: str) -> str:
    bounds = rows.select(f"delta_vs_{column}_low", f"delta_vs_{column}_high", "better").drop_nulls()
    sides = Counter(outcome(low, high, better) for low, high, better in bounds.iter_rows())
    if not sides.total():
        return ""
    return (
        f"beats {rival} in {sides['above']} of {sides.total()} comparisons "
        f"({sides['level']} undecided, {sides['below']} worse)"
    )
