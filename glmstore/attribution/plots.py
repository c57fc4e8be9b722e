"""Logos and box plots, drawn without pyplot so that no window system and no global state is touched."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from glmstore.attribution.sites import Site

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from glmstore.attribution.gia import Importance

# Okabe & Ito's palette keeps apart under all common colour-vision deficiencies.
LETTER_COLOURS = {"A": "#009E73", "C": "#0072B2", "G": "#E69F00", "T": "#D55E00"}
BOX_COLOURS = {"shuffled background": "#BBBBBB", "site's letters scrambled": "#56B4E9", "site": "#D55E00"}
_INK = "#333333"


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, colors=_INK)
    axes.yaxis.label.set_fontsize(9)
    axes.xaxis.label.set_fontsize(9)


def _mark_sites(axes: Axes, sites: Sequence[Site]) -> None:
    for site in sites:
        axes.axvspan(site.start - 0.5, site.stop - 0.5, color="#999999", alpha=0.16, lw=0, zorder=-1)
        axes.annotate(
            site.name,
            ((site.start + site.stop - 1) / 2, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
            color=_INK,
        )


def saliency_logo(
    panels: Sequence[tuple[str, np.ndarray]], sites: Sequence[Site] = (), *, unit: str
) -> Figure:
    """Draw attributions as letters, one panel under the other.

    Parameters
    ----------
    panels
        Caption and float [L, 4] (A, C, G, T) for each panel; all of the same L.
    sites
        Known sites, shaded and named.
    unit
        What the height of a letter means.
    """
    import logomaker
    import pandas as pd  # type: ignore[import-untyped]

    length = panels[0][1].shape[0]
    figure = _figure(max(6.0, 0.145 * length + 1.2), 0.45 + 1.75 * len(panels))
    rows = np.atleast_1d(figure.subplots(len(panels), 1, sharex=True))
    for axes, (caption, values) in zip(rows, panels, strict=True):
        frame = pd.DataFrame(np.asarray(values, np.float64), columns=list("ACGT"))
        logomaker.Logo(frame, ax=axes, color_scheme=LETTER_COLOURS, flip_below=False, show_spines=True)
        axes.axhline(0, color=_INK, lw=0.6)
        _mark_sites(axes, sites)
        axes.set_ylabel(unit)
        axes.set_title(caption, loc="left", fontsize=9, color=_INK, pad=16 if sites else 4)
        axes.set_xlim(-0.5, length - 0.5)
        _tidy(axes)
    rows[-1].set_xlabel("position (0-based)")
    return figure


def gia_boxes(results: Sequence[Importance], *, unit: str) -> Figure:
    """Draw, for every set of sites, the predictions on the backgrounds, with the control, and with the sites.

    Boxes hold the middle half of the backgrounds with the median, whiskers the 5th to the 95th percentile.
    The mean effect of the sites and its interval stand above each group.
    """
    from matplotlib.patches import Patch

    figure = _figure(1.6 + 1.75 * len(results), 3.6)
    axes = figure.subplots()
    axes.axhline(float(np.median(results[0].insertion.before)), color=_INK, lw=0.7, ls=":", zorder=0)
    for group, result in enumerate(results):
        columns = (result.insertion.before, result.disruption.after, result.insertion.after)
        for offset, values, colour in zip((-0.26, 0.0, 0.26), columns, BOX_COLOURS.values(), strict=True):
            axes.boxplot(
                [values],
                positions=[group + offset],
                widths=0.22,
                whis=(5, 95),
                showfliers=False,
                patch_artist=True,
                boxprops={"facecolor": colour, "edgecolor": _INK, "linewidth": 0.8},
                medianprops={"color": _INK, "linewidth": 1.2},
                whiskerprops={"color": _INK, "linewidth": 0.8},
                capprops={"color": _INK, "linewidth": 0.8},
            )
        effect = result.insertion.effect
        axes.annotate(
            f"{effect.value:+.2f}\n[{effect.low:+.2f}, {effect.high:+.2f}]",
            (group, 1.0),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="bottom",
            fontsize=8,
            color=_INK,
        )
    axes.set_xticks(range(len(results)), [r.name.replace(" + ", "\n") for r in results])
    axes.set_xlim(-0.5, len(results) - 0.5)
    axes.set_ylabel(unit)
    _tidy(axes)
    figure.legend(
        handles=[Patch(facecolor=c, edgecolor=_INK, label=label) for label, c in BOX_COLOURS.items()],
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=8,
    )
    return figure


def png(figure: Figure) -> bytes:
    """Return the figure as the bytes of a PNG file; equal figures give equal bytes."""
    out = BytesIO()
    figure.savefig(out, format="png", dpi=150, metadata={"Software": None})
    return out.getvalue()
