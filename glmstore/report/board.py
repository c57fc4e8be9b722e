"""The leaderboard in words: every number with its interval, and beside it what its controls say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from glmstore.report.contests import COMPLETE
from glmstore.report.differences import RIVALS, differences
from glmstore.report.findings import findings
from glmstore.report.text import head_text, interval_text, view_text

Line = dict[str, str | int]

_VALUE = "value [95 % interval]"
_FINDING = "in short"
_NONE = "–"
_DIFFERENCES = {name: f"minus {rival.title}" for name, rival in RIVALS.items()}
_ALWAYS_SHOWN = (_DIFFERENCES["twin"], _DIFFERENCES["onehot"])


def board_rows(board: pl.DataFrame) -> list[Line]:
    """Return the lines of :func:`~glmstore.report.leaderboard.leaderboard` as people read them.

    Returns
    -------
    list of dict
        One a line, in order. A model's line holds its differences to its controls with their intervals, and
        whether these controls are complete; a control's says which control it is. The first line of a
        benchmark says in short how its best model stands to the best control of the sequence alone.
    """
    said = {(finding.benchmark, finding.metric): finding.words for finding in findings(board)}
    return [
        _line(row, said.pop((row["benchmark"], row["metric"]), "")) for row in board.iter_rows(named=True)
    ]


def _line(row: Mapping[str, Any], finding: str) -> Line:
    found = differences(row)
    value = interval_text(row["value"], row["ci_low"], row["ci_high"])
    rival = f"{row['best_control']}, {row['best_control_head']}" if row["best_control"] else _NONE
    return {
        "benchmark": row["benchmark"],
        "model": row["model"],
        "head": head_text(row["head"], row["protocol"]),
        _VALUE: value if row["status"] == "ok" else f"failed: {row['error']}",
        **{title: found[name].text if name in found else _NONE for name, title in _DIFFERENCES.items()},
        "best control": rival,
        "controls": row["controls"] if row["control"] == "none" else f"is a control: {row['control']}",
        "metric": row["metric"],
        "view": view_text(row["view"]),
        "n": row["n"],
        "seeds": row["seeds"],
        _FINDING: finding,
    }


def board_markdown(lines: Sequence[Line]) -> str:
    """Return these lines as Markdown, a table for each head on a benchmark; a sentence where there are none.

    The tables have few columns: where a page cuts them off at its edge, as Prefect's does, a model's number
    would else be seen without its controls. What the best control of any head says stands above them.
    """
    groups: dict[tuple[str | int, ...], list[Line]] = defaultdict(list)
    said: dict[tuple[str | int, ...], str | int] = {}
    for line in lines:
        groups[line["benchmark"], line["head"], line["metric"]].append(line)
        if finding := line.get(_FINDING):
            said[line["benchmark"], line["metric"]] = finding
    parts = []
    for (benchmark, head, metric), group in groups.items():
        if finding := said.pop((benchmark, metric), None):
            parts.append(f"**{benchmark}, {metric}.** {finding}")
        parts.append(_table(f"{benchmark}", f"{head}", f"{metric}", group))
    return "\n\n".join(parts) or "No results yet."


def _table(benchmark: str, head: str, metric: str, group: Sequence[Line]) -> str:
    """Return one table under a heading; what the training departs in stands below it, for it is long."""
    name, _, departures = head.partition(", ")
    best = _DIFFERENCES["best"]
    shown = [
        title
        for title in _DIFFERENCES.values()
        if title in _ALWAYS_SHOWN
        or (title != best and any(line.get(title, _NONE) != _NONE for line in group))
    ]
    return "\n".join(
        [
            f"### {benchmark}: {name}",
            "",
            *((f"*{departures}*", "") if departures else ()),
            _joined(["", f"{metric} [95 % interval]", *shown]),
            "|" + "---|" * (2 + len(shown)),
            *(
                _joined([_subject(line, group), line[_VALUE], *(line[title] for title in shown)])
                for line in group
            ),
        ]
    )


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
