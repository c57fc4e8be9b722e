"""The leaderboard in words: every number with its interval, and beside it what its controls say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from glmstore.report.contests import COMPLETE
from glmstore.report.text import head_text, interval_text, view_text

Line = dict[str, str | int]

_VALUE = "value [95 % interval]"
_DIFFERENCES = {"minus random twin": "twin", "minus one-hot": "onehot"}


def board_rows(board: pl.DataFrame) -> list[Line]:
    """Return the lines of :func:`~glmstore.report.leaderboard.leaderboard` as people read them.

    Returns
    -------
    list of dict
        One a line, in order. A model's line holds its differences to its random twin and to one-hot with
        their intervals, and whether these controls are complete; a control's says which control it is.
    """
    return [_line(row) for row in board.iter_rows(named=True)]


def _line(row: Mapping[str, Any]) -> Line:
    def difference(rival: str) -> str:
        value, low, high = (row[f"delta_vs_{rival}{end}"] for end in ("", "_low", "_high"))
        return interval_text(value, low, high, signed=True)

    value = interval_text(row["value"], row["ci_low"], row["ci_high"])
    return {
        "benchmark": row["benchmark"],
        "model": row["model"],
        "head": head_text(row["head"], row["protocol"]),
        _VALUE: value if row["status"] == "ok" else f"failed: {row['error']}",
        **{title: difference(rival) for title, rival in _DIFFERENCES.items()},
        "controls": row["controls"] if row["control"] == "none" else f"is a control: {row['control']}",
        "metric": row["metric"],
        "view": view_text(row["view"]),
        "n": row["n"],
        "seeds": row["seeds"],
    }


def board_markdown(lines: Sequence[Line]) -> str:
    """Return these lines as Markdown, a table for each head on a benchmark; a sentence where there are none.

    The tables have few columns: where a page cuts them off at its edge, as Prefect's does, a model's number
    would else be seen without its controls.
    """
    groups: dict[tuple[str | int, ...], list[Line]] = defaultdict(list)
    for line in lines:
        groups[line["benchmark"], line["head"], line["metric"]].append(line)
    parts = [
        "\n".join(
            [
                f"### {benchmark}: {head}",
                "",
                _joined(["", f"{metric} [95 % interval]", *_DIFFERENCES]),
                "|" + "---|" * (2 + len(_DIFFERENCES)),
                *(
                    _joined([_subject(line, group), line[_VALUE], *(line[title] for title in _DIFFERENCES)])
                    for line in group
                ),
            ]
        )
        for (benchmark, head, metric), group in groups.items()
    ]
    return "\n\n".join(parts) or "No results yet."


def _subject(line: Line, group: Sequence[Line]) -> str:
    """Return the model, with its view if it has several; one under test in bold, with what it lacks."""
    several = sum(other["model"] == line["model"] for other in group) > 1
    view = f", {line['view']}" if several else ""
    if str(line["controls"]).startswith("is a control"):
        return f"{line['model']}{view}"
    lacking = "" if line["controls"] == COMPLETE else f" (controls {line['controls']})"
    return f"**{line['model']}**{view}{lacking}"


def _joined(cells: Iterable[str | int]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
