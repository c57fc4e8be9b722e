"""A model's paired differences to its controls, as every page writes and colours them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from glmstore.report.contests import COMPLETE
from glmstore.report.text import Outcome, interval_text, outcome


class Rival(NamedTuple):
    """What a model is held against: as a heading names it, and as a sentence does."""

    title: str
    words: str


RIVALS = {
    "twin": Rival("random twin", "its random twin"),
    "onehot": Rival("one-hot", "one-hot under the same head"),
    "kmer": Rival("k-mers", "k-mers under the same head"),
    "best": Rival("best control", "the best sequence control"),
}
"""By the name that the leaderboard's columns carry, as ``delta_vs_NAME``."""


class Difference(NamedTuple):
    """A model less one control.

    Attributes
    ----------
    value, low, high
        The difference and its 95 % interval; None where it is undefined.
    side
        Whether the interval is clear of zero, and which way is good for the model; None without an interval.
    shade
        How it is coloured: as `side`, but a gain counts for nothing ("level") unless the model also lies
        above the best sequence control.
    """

    value: float
    low: float | None
    high: float | None
    side: Outcome | None
    shade: Outcome

    @property
    def text(self) -> str:
        """Return ``+0.010 [-0.002, +0.022]``."""
        return interval_text(self.value, self.low, self.high, signed=True)

    @property
    def size(self) -> str:
        """Return the difference without its sign: ``0.010 [0.002, 0.022]``."""
        if self.value >= 0 or self.low is None or self.high is None:
            return interval_text(abs(self.value), self.low, self.high)
        return interval_text(-self.value, -self.high, -self.low)


def differences(row: Mapping[str, Any]) -> dict[str, Difference]:
    """Return the differences of a leaderboard row, in the order of `RIVALS`; a control has none."""
    found = {}
    for name in RIVALS:
        value, low, high = (row[f"delta_vs_{name}{end}"] for end in ("", "_low", "_high"))
        if value is None:
            continue
        side = _side(row, name)
        gains = side == "above" and not holds(row)
        found[name] = Difference(value, low, high, side, "level" if gains else side or "level")
    return found


def holds(row: Mapping[str, Any]) -> bool:
    """Whether a gain of a leaderboard row may be called one: the model is above the best sequence control.

    Where no sequence control can be asked for, as of a zero-shot score, it is enough that no control is
    missing.
    """
    if row["best_control"] is None:
        return bool(row["controls"] == COMPLETE)
    return _side(row, "best") == "above"


def _side(row: Mapping[str, Any], name: str) -> Outcome | None:
    low, high = row[f"delta_vs_{name}_low"], row[f"delta_vs_{name}_high"]
    return None if low is None or high is None else outcome(low, high, row["better"])
