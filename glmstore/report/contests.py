"""A model against each of its controls: the paired difference, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from glmstore.errors import ShapeError
from glmstore.report.panel import Entry, needs_one_hot, one_hot_control, random_twin

if TYPE_CHECKING:
    from glmstore.report.compare import Comparer

COMPLETE = "complete"
CONTROL = "control"
NOT_COMPARED = "not compared"


@dataclass(frozen=True)
class Contest:
    """One model line against one control.

    Attributes
    ----------
    control
        What the control is called in words.
    value, low, high
        Model minus control and its 95 % interval; None where there is no comparison.
    problem
        Why there is none ("missing", "failed", …), None where there is one or none can be asked for.
    """

    control: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    problem: str | None = None


def contests_of(
    line: Entry, panel: Sequence[Entry], comparer: Comparer, label_kind: str | None
) -> dict[str, Contest]:
    """Return what a line is held against, by the name its columns carry: ``twin`` and ``onehot``.

    Empty for controls, and for numbers that are no metric of predictions.
    """
    from glmstore.metrics import METRICS

    if not line.is_model or (line.ok and line.row["metric"] not in METRICS):
        return {}
    found = {"twin": _contest("random twin", line, random_twin(line, panel), comparer)}
    if needs_one_hot(line, label_kind):
        found["onehot"] = _contest("one-hot", line, one_hot_control(line, panel), comparer)
    return found


def controls_text(line: Entry, contests: Mapping[str, Contest]) -> str:
    """Return ``control``, ``complete``, ``not compared``, or which control is missing and why."""
    if not line.is_model:
        return CONTROL
    if not contests:
        return NOT_COMPARED
    problems: dict[str, list[str]] = {}
    for contest in contests.values():
        if contest.problem:
            problems.setdefault(contest.problem, []).append(contest.control)
    return "; ".join(f"{problem}: {', '.join(names)}" for problem, names in problems.items()) or COMPLETE


def known(value: float) -> float | None:
    """Return None for NaN, which stands for an undefined bound."""
    return value if isfinite(value) else None


def _contest(name: str, line: Entry, control: Entry | None, comparer: Comparer) -> Contest:
    if control is None:
        return Contest(name, problem="missing")
    if not control.ok:
        return Contest(name, problem="failed")
    if not line.ok:
        return Contest(name)
    try:
        difference = comparer.difference(line, control)
    except ShapeError:
        return Contest(name, problem="on other test items")
    if difference is None:
        return Contest(name, problem="without stored predictions")
    return Contest(name, known(difference.value), known(difference.low), known(difference.high))
