"""How numbers and names are written, on the terminal and in the report alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

Outcome = Literal["above", "below", "level"]

NOISE_CEILING = "noise_ceiling_"
_DASH = "–"
_LONGEST_FACT = 80


def interval_text(value: float | None, low: float | None, high: float | None, *, signed: bool = False) -> str:
    """Return ``0.553 [0.541, 0.566]``; the value alone without an interval, a dash without a value.

    Examples
    --------
    >>> interval_text(0.5531, 0.5412, 0.5664)
    '0.553 [0.541, 0.566]'
    >>> interval_text(0.01, -0.002, 0.022, signed=True)
    '+0.010 [-0.002, +0.022]'
    """
    if value is None:
        return _DASH
    form = "+.3f" if signed else ".3f"
    if low is None or high is None:
        return format(value, form)
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def view_text(view: str) -> str:
    """Return layer, pooling and strand of a view in a few letters: ``L5 mean``, ``L0 tokens``, ``L5 mean ±``.

    Examples
    --------
    >>> view_text("gpn-mini/5/mean/forward/float16@0a1b2c3d")
    'L5 mean'
    """
    if view.count("/") < 4:
        return _DASH
    _, layer, pooling, strand, _ = view.rsplit("/", 4)
    return f"L{layer} {pooling}" + {"forward": "", "reverse": " −", "mean": " ±"}.get(strand, f" {strand}")


def head_text(head: str, protocol: str) -> str:
    """Return a head with whatever its protocol adds to the project's own: ``ridge``, ``cnn, width 0.5``.

    Examples
    --------
    >>> head_text("mlp", "glmstore, permuted labels"), head_text("cnn", "tang2025_paper")
    ('mlp, permuted labels', 'cnn, tang2025_paper')
    """
    extra = protocol.removeprefix("glmstore").lstrip(", -")
    return f"{head}, {extra}" if extra else head


def noise_ceiling(facts: Mapping[str, Any], metric: str) -> float | None:
    """Return the benchmark's measured noise ceiling in `metric`, or None where it has none."""
    found = facts.get(f"{NOISE_CEILING}{metric}")
    return None if found is None else float(found)


def outcome(low: float, high: float, better: str = "higher") -> Outcome:
    """Return whether a difference is clearly for the model, clearly against it, or holds zero.

    Parameters
    ----------
    low, high
        Interval of model minus control.
    better
        "lower" where low values are the good ones.
    """
    if low > 0:
        return "above" if better == "higher" else "below"
    if high < 0:
        return "below" if better == "higher" else "above"
    return "level"


def fact_text(value: float | int | str) -> str:
    """Return a measured fact as text: thousands separated, four significant digits.

    Examples
    --------
    >>> fact_text(50518), fact_text(0.912345), fact_text("none")
    ('50,518', '0.9123', 'none')
    """
    if isinstance(value, bool | str):
        text = str(value)
        return text if len(text) <= _LONGEST_FACT else f"{text[:16]}… ({len(text)} characters)"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def duration_text(seconds: float) -> str:
    """Return seconds as people say them.

    Examples
    --------
    >>> duration_text(7.4), duration_text(312), duration_text(7500)
    ('7 s', '5 min 12 s', '2 h 5 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def minus(text: str) -> str:
    """Return text with the hyphens before numbers as minus signs; names keep theirs.

    Examples
    --------
    >>> minus("gpn-mini: -0.004 [-0.073, 0.063]")
    'gpn-mini: −0.004 [−0.073, 0.063]'
    """
    return re.sub(r"(?<![\w-])-(?=\d)", "−", text)
