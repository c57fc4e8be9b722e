"""Forest plots: every result of one benchmark with its interval, models in colour, controls muted."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from glmstore.report.text import head_text, minus, view_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, FAINT, MODEL, CEILING = "#1c2127", "#8a939e", "#e3e7eb", "#0b6e99", "#b5651d"
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "path",
    "axes.edgecolor": MUTED,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
}
_ROW_INCHES, _WIDTH_INCHES = 0.27, 9.6
_GAP = 0.25
"""Between two groups, in rows."""


def forest_svg(rows: Sequence[Mapping[str, Any]], *, metric: str, ceiling: float | None, salt: str) -> str:
    """Draw finished leaderboard rows as points with 95 % intervals, grouped by head.

    Parameters
    ----------
    rows
        Leaderboard rows with a value, all in `metric`.
    metric
        Label of the axis.
    ceiling
        The benchmark's noise ceiling, drawn as a dashed line; None draws none.
    salt
        Makes identifiers differ between the plots of a page and stay the same between runs.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    groups = _by_head(rows)
    n_lines = sum(len(part) + 1 for _, part in groups) + _GAP * (len(groups) - 1)
    with mpl.rc_context(_STYLE | {"svg.hashsalt": salt}):
        figure = Figure(figsize=(_WIDTH_INCHES, _ROW_INCHES * n_lines + 0.75), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        bottom = _draw_groups(axes, groups)
        _frame(axes, bottom, metric, ceiling)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return _with_own_ids(text[text.index("<svg") :], salt)


def _with_own_ids(svg: str, salt: str) -> str:
    """Prefix every identifier: all plots stand in one page, and matplotlib names the parts of each alike."""
    prefix = re.sub(r"[^A-Za-z0-9]+", "-", salt)
    return re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)


def _by_head(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Group rows by head and protocol; the group with the best model first, rows best first."""
    named = sorted(rows, key=lambda r: (r["head"], r["protocol"], -_worth(r)))
    groups = [
        (head_text(head, protocol), list(part))
        for (head, protocol), part in groupby(named, key=lambda r: (r["head"], r["protocol"]))
    ]
    return sorted(groups, key=lambda g: -max(_worth(r) for r in g[1]))


def _worth(row: Mapping[str, Any]) -> float:
    value = float(row["value"])
    return value if row["better"] == "higher" else -value


def _draw_groups(axes: Axes, groups: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]) -> float:
    """Draw the groups under their heads, for a head's words may be longer than a row's label can be."""
    y, ticks, labels = 0.0, [], []
    for head, rows in groups:
        axes.annotate(
            head,
            (0.0, y),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=9,
            color=MUTED,
            fontstyle="italic",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
        )
        for row in rows:
            y += 1
            _draw_row(axes, y, row)
            ticks.append(y)
            labels.append(_label(row))
        y += 1 + _GAP
    axes.set_yticks(ticks, labels)
    for tick, row in zip(axes.get_yticklabels(), (r for _, rows in groups for r in rows), strict=True):
        is_model = row["control"] == "none"
        tick.set_color(INK if is_model else MUTED)
        tick.set_fontweight("bold" if is_model else "normal")
    return y - 1 - _GAP


def _label(row: Mapping[str, Any]) -> str:
    view = view_text(row["view"])
    return f"{row['model']}" + ("" if view == "–" else f"  ·  {view}")


def _draw_row(axes: Axes, y: float, row: Mapping[str, Any]) -> None:
    is_model = row["control"] == "none"
    colour = MODEL if is_model else MUTED
    low, high = row["ci_low"], row["ci_high"]
    if low is not None and high is not None:
        axes.plot(
            [low, high], [y, y], color=colour, linewidth=2.2 if is_model else 1.4, solid_capstyle="round"
        )
    axes.plot(
        [row["value"]],
        [y],
        marker="o" if is_model else "s",
        markersize=7 if is_model else 5,
        markerfacecolor=colour if is_model else "white",
        markeredgecolor=colour,
        linestyle="none",
    )
    axes.annotate(
        minus(f"{row['value']:.3f}"),
        (1.0, y),
        xycoords=("axes fraction", "data"),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        color=INK if is_model else MUTED,
        fontweight="bold" if is_model else "normal",
        annotation_clip=False,
    )


def _frame(axes: Axes, bottom: float, metric: str, ceiling: float | None) -> None:
    axes.set_ylim(bottom + 0.7, -0.7)
    if ceiling is not None:
        axes.axvline(ceiling, color=CEILING, linewidth=1.2, linestyle=(0, (4, 3)), zorder=0)
        axes.annotate(
            f"noise ceiling {ceiling:.3f}",
            (ceiling, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(-4, 3),
            textcoords="offset points",
            ha="right",
            color=CEILING,
            fontsize=9,
            annotation_clip=False,
        )
    left, right = axes.get_xlim()
    if left < 0 < right:
        axes.axvline(0, color=MUTED, linewidth=0.8, zorder=0)
    axes.set_xlabel(f"{metric} on the test split, 95 % interval")
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="both", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
