"""Tables and figures of an explanation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from glmstore.attribution.plots import gia_boxes, png, saliency_logo
from glmstore.report.summary import Figure
from glmstore.sequences.onehot import BASES

if TYPE_CHECKING:
    from glmstore.attribution.gia import Importance
    from glmstore.attribution.sites import AnnotatedReference


class Panel(NamedTuple):
    """One logo.

    Attributes
    ----------
    caption
        What it shows.
    hypothetical, observed
        float [L, 4], see :class:`glmstore.attribution.saliency.Saliency`.
    """

    caption: str
    hypothetical: np.ndarray
    observed: np.ndarray


def saliency_table(panels: Sequence[Panel]) -> pl.DataFrame:
    """Return one row a panel, position and letter."""
    parts = []
    for panel in panels:
        length = len(panel.observed)
        parts.append(
            pl.DataFrame(
                {
                    "panel": [panel.caption] * (length * len(BASES)),
                    "position": np.repeat(np.arange(length), len(BASES)),
                    "letter": list(BASES) * length,
                    "hypothetical": panel.hypothetical.ravel(),
                    "observed": panel.observed.ravel(),
                }
            )
        )
    return pl.concat(parts)


def importance_table(results: Sequence[Importance]) -> pl.DataFrame:
    """Return one row a set of sites and background."""
    parts = [
        pl.DataFrame(
            {
                "sites": [result.name] * len(result.insertion.before),
                "background": np.arange(len(result.insertion.before)),
                "without": result.insertion.before,
                "scrambled": result.disruption.after,
                "with": result.insertion.after,
            }
        )
        for result in results
    ]
    return pl.concat(parts)


def figures_of(
    known: AnnotatedReference,
    panels: Sequence[Panel],
    results: Sequence[Importance],
    label: str,
) -> list[Figure]:
    """Return the logo of the panels and the box plots of the results, with their captions."""
    drawn = [(panel.caption, panel.observed) for panel in panels]
    logo = saliency_logo(drawn, known.sites, unit="contribution")
    boxes = gia_boxes(results, unit="prediction")
    return [
        Figure(
            f"Saliency: {known.title}",
            f"Gradient-corrected saliency times the sequence, of a network on one-hot sequences. Height: "
            f"contribution to the {label}. Grey: known sites ({known.citation}).",
            png(logo),
        ),
        Figure(
            f"Global importance: {known.title}",
            f"Predictions of a network on one-hot sequences for {len(results[0].insertion.before)} "
            f"dinucleotide shuffles of the wild type: as they are, with each site's letters in random order "
            f"at its place, and with the site. Boxes hold the middle half, whiskers the 5th to the 95th "
            f"percentile; above, the mean effect of the site with its 95 % interval over backgrounds. "
            f"Prediction: {label}.",
            png(boxes),
        ),
    ]
