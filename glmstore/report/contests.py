"""A model against each of its controls: the paired difference, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from glmstore.errors import ShapeError
from glmstore.report.controls import (
    best_sequence_control,
    kmer_control,
    needs_one_hot,
    needs_sequence_control,
    one_hot_control,
    random_twin,
)
from glmstore.report.panel import Entry

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
    line
        The control's own line; None where there is none.
    """

    control: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    problem: str | None = None
    line: Entry | None = None


def contests_of(
    line: Entry, panel: Sequence[Entry], comparer: Comparer, label_kind: str | None
) -> dict[str, Contest]:
    """Return what a line is held against, by the name its columns carry.

    ``twin``, ``onehot`` and ``kmer`` stand under the same head; ``best`` is the best control of the sequence
    alone under any head. K-mers are compared where they were computed, and asked for nowhere: a head on
    tokens cannot read them. Empty for controls, and for numbers that are no metric of predictions.
    """
    from glmstore.metrics import METRICS

    if not line.is_model or (line.ok and line.row["metric"] not in METRICS):
        return {}
    found = {"twin": _contest("random twin", line, random_twin(line, panel), comparer)}
    if needs_one_hot(line, label_kind):
        found["onehot"] = _contest("one-hot", line, one_hot_control(line, panel), comparer)
    if (kmer := kmer_control(line, panel)) is not None:
        found["kmer"] = _contest("k-mers", line, kmer, comparer)
    best = best_sequence_control(line, panel) if line.ok else None
    missed = line.ok and needs_sequence_control(label_kind) and "onehot" not in found
    if best is not None or missed:
        found["best"] = _contest("sequence control of any head", line, best, comparer)
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
        return Contest(name, problem="failed", line=control)
    if not line.ok:
        return Contest(name, line=control)
    try:
        difference = comparer.difference(line, control)
    except ShapeError:
        return Contest(name, problem="on other test items", line=control)
    if difference is None:
        return Contest(name, problem="without stored predictions", line=control)
    value, low, high = (known(number) for number in difference)
    return Contest(name, value, low, high, line=control)
