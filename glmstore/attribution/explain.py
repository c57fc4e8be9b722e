"""Explain a probe on one-hot sequences: saliency of the wild type, and what the known sites do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
from pydantic import Field

from glmstore.attribution.sites import SITES
from glmstore.config import Frozen
from glmstore.errors import HeadError
from glmstore.results import Cell, ResultRow
from glmstore.rows import measured_row
from glmstore.sequences.onehot import one_hot

if TYPE_CHECKING:
    from glmstore.attribution.gia import Contrast, Importance
    from glmstore.attribution.presentation import Panel
    from glmstore.attribution.sites import AnnotatedReference, Site
    from glmstore.heads.base import Probe
    from glmstore.objects.places import Place
    from glmstore.report.summary import Figure
    from glmstore.store import FeatureStore

HEAD_PREFIX = "gia"
PROTOCOL = "glmstore"


class ExplainSettings(Frozen):
    """Every choice that changes an explanation's numbers."""

    n_backgrounds: int = Field(300, ge=10, description="Dinucleotide shuffles of the wild type.")
    n_high: int = Field(
        500, ge=1, description="Test sequences with the highest prediction, whose saliency is averaged."
    )
    seed: int = Field(0, description="Of the shuffles, of the controls' letter orders, and of the bootstrap.")
    n_resamples: int = Field(1000, ge=100, description="Bootstrap resamples over backgrounds.")


class ExplainOutcome(NamedTuple):
    """What an explanation gives.

    Attributes
    ----------
    rows
        ``gia_effect``, ``gia_control_effect`` and ``knock_out_effect`` of every set of sites, in the unit of
        the label.
    saliency
        One row a panel, position and letter: ``panel``, ``position`` (0-based), ``letter``, ``hypothetical``
        (corrected gradient), ``observed`` (times how often the letter stands there).
    importance
        One row a set of sites and background: ``sites``, ``background``, and the predictions ``without``,
        ``scrambled`` and ``with``.
    figures
        A logo and box plots, as PNG with their captions.
    """

    rows: list[ResultRow]
    saliency: pl.DataFrame
    importance: pl.DataFrame
    figures: list[Figure]

    def save(self, folder: Place) -> list[Place]:
        """Write figures and tables into a folder, each whole or not at all; return the files.

        Raises
        ------
        StoreError
            If the folder cannot be written.
        """
        from glmstore.objects.places import below
        from glmstore.report.atomic import write_atomically
        from glmstore.report.record import save_figure

        written = [save_figure(folder, figure) for figure in self.figures]
        for name, table in (("saliency", self.saliency), ("importance", self.importance)):
            written.append(write_atomically(below(folder, f"{name}.csv"), table.write_csv().encode()))
        return written


def site_sets(known: AnnotatedReference) -> list[tuple[Site, ...]]:
    """Return every site by itself, and, where there are several, all together."""
    alone: list[tuple[Site, ...]] = [(site,) for site in known.sites]
    return [*alone, known.sites] if len(alone) > 1 else alone


def plan_cells(probe_cell: Cell, settings: ExplainSettings) -> list[Cell]:
    """Return one cell for every set of sites, in the order of :func:`site_sets`.

    Parameters
    ----------
    probe_cell
        The cell that trained the probe.
    settings
        See :class:`ExplainSettings`.

    Raises
    ------
    UnknownNameError
        If no sites are known for the benchmark.
    """
    choices = settings.model_dump(mode="json", exclude={"n_high"}) | {"probe": probe_cell.key}
    return [
        probe_cell.model_copy(
            update={
                "head": f"{HEAD_PREFIX}:{' + '.join(site.name for site in sites)}",
                "protocol": PROTOCOL,
                "seeds": probe_cell.seeds[:1],
                "settings": choices | {"sites": [site.model_dump(mode="json") for site in sites]},
            }
        )
        for sites in site_sets(SITES[probe_cell.benchmark])
    ]


def run_explain(
    store: FeatureStore, probe: Probe, probe_cell: Cell, settings: ExplainSettings
) -> ExplainOutcome:
    """Explain a probe; nothing is written to the store.

    Parameters
    ----------
    store
        Holds the benchmark.
    probe
        A fitted network on token-level one-hot features, of the first seed of `probe_cell`.
    probe_cell
        The cell that trained it.
    settings
        See :class:`ExplainSettings`.

    Raises
    ------
    UnknownNameError
        If no sites are known for the benchmark.
    HeadError
        If the probe is no network on one-hot sequences.
    """
    from glmstore.attribution.gia import backgrounds, global_importance, knock_out
    from glmstore.attribution.presentation import figures_of, importance_table, saliency_table

    known = SITES[probe_cell.benchmark]
    _check(probe, probe_cell)

    def predict(sequences: Sequence[str]) -> np.ndarray:
        return probe.predict(one_hot(sequences))

    shuffled = backgrounds([known.reference], settings.n_backgrounds, settings.seed)
    chances = {"seed": settings.seed, "n_resamples": settings.n_resamples}
    results, rows = [], []
    for cell, sites in zip(plan_cells(probe_cell, settings), site_sets(known), strict=True):
        result = global_importance(predict, shuffled, sites, **chances)
        knocked = knock_out(predict, known.reference, sites, settings.n_backgrounds, **chances)
        results.append(result)
        rows += _rows(cell, result, knocked)
    panels = _saliency(store, probe, known, probe_cell.benchmark, settings)
    label = store.benchmark_spec(probe_cell.benchmark).label
    figures = figures_of(known, panels, results, label)
    return ExplainOutcome(rows, saliency_table(panels), importance_table(results), figures)


def _check(probe: Probe, cell: Cell) -> None:
    if not hasattr(probe, "module"):
        raise HeadError(f"head {cell.head} has no gradient to explain; explain a probe of head cnn.")
    if cell.model != "onehot":
        raise HeadError(f"the probe reads {cell.model}, not letters; explain a probe of model onehot.")


def _saliency(
    store: FeatureStore,
    probe: Probe,
    known: AnnotatedReference,
    benchmark: str,
    settings: ExplainSettings,
) -> list[Panel]:
    from glmstore.attribution.presentation import Panel
    from glmstore.attribution.saliency import corrected_saliency

    module = probe.module  # type: ignore[attr-defined]
    items = store.benchmark_items(benchmark)
    test = one_hot(items.filter(pl.col("split") == "test")["sequence"].to_list())
    high = test[np.argsort(probe.predict(test), kind="stable")[-settings.n_high :]]
    wild = corrected_saliency(module, one_hot([known.reference]))
    many = corrected_saliency(module, high)
    return [
        Panel("wild type", wild.hypothetical[0], wild.observed[0]),
        Panel(
            f"mean of the {len(high)} test sequences with the highest prediction",
            many.hypothetical.mean(axis=0),
            many.observed.mean(axis=0),
        ),
    ]


def _rows(cell: Cell, result: Importance, knocked: Contrast) -> list[ResultRow]:
    details = {
        "probe": cell.settings["probe"],
        "gia_effect": "prediction with the sites less without, mean over dinucleotide-shuffled backgrounds",
        "gia_control_effect": "the same with the sites' letters in random order",
        "knock_out_effect": "prediction of the wild type less that with the sites' letters in random order",
    }
    effects = {
        "gia_effect": result.insertion,
        "gia_control_effect": result.disruption,
        "knock_out_effect": knocked,
    }
    return [
        measured_row(cell, metric, contrast.effect, n=len(contrast.before), details=details)
        for metric, contrast in effects.items()
    ]
