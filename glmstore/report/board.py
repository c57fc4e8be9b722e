"""The leaderboard in words: every number with its interval, and beside it what its controls say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from glmstore.report.text import head_text, interval_text, view_text

_DIFFERENCES = {"minus random twin": "twin", "minus one-hot": "onehot"}


def board_rows(board: pl.DataFrame) -> list[dict[str, str | int]]:
    """Return the lines of :func:`~glmstore.report.leaderboard.leaderboard` as people read them.

    Returns
    -------
    list of dict
        One a line, in order. A model's line holds its differences to its random twin and to one-hot with
        their intervals, and whether these controls are complete; a control's says which control it is.
    """
    return [_line(row) for row in board.iter_rows(named=True)]


def _line(row: Mapping[str, Any]) -> dict[str, str | int]:
    failed = row["status"] != "ok"
    head = head_text(row["head"], row["protocol"])
    differences = {
        title: interval_text(
            row[f"delta_vs_{rival}"],
            row[f"delta_vs_{rival}_low"],
            row[f"delta_vs_{rival}_high"],
            signed=True,
        )
        for title, rival in _DIFFERENCES.items()
    }
    return {
        "benchmark": row["benchmark"],
        "model": row["model"],
        "view": view_text(row["view"]),
        "head": head,
        "metric": row["metric"],
        "value [95 % interval]": f"failed: {row['error']}"
        if failed
        else interval_text(row["value"], row["ci_low"], row["ci_high"]),
        **differences,
        "controls": f"is a control: {row['control']}" if row["control"] != "none" else row["controls"],
        "n": row["n"],
        "seeds": row["seeds"],
    }


def board_markdown(rows: Sequence[Mapping[str, str | int]]) -> str:
    """Return these lines as a Markdown table; a sentence where there are none."""
    if not rows:
        return "No results yet."
    lines = [_joined(rows[0]), "|" + "---|" * len(rows[0])]
    lines += [_joined(row.values()) for row in rows]
    return "\n".join(lines)


def _joined(cells: Any) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
