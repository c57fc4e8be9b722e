"""The report: one HTML file that stands alone, prints well and asks no server for anything."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

from glmstore import __version__
from glmstore.objects.places import Place
from glmstore.report.atomic import write_atomically
from glmstore.report.contests import COMPLETE, CONTROL
from glmstore.report.current import current_results
from glmstore.report.differences import RIVALS, differences
from glmstore.report.leaderboard import leaderboard
from glmstore.report.panel import standing
from glmstore.report.reader_sections import adapter_sections, provenance_rows, site_effects, tuned_heads
from glmstore.report.reproducing import OWN_TABLE, recipe
from glmstore.report.sections import benchmark_sections
from glmstore.report.summary import STORED, Figure, SuiteSummary
from glmstore.report.text import duration_text, head_text, minus, view_text
from glmstore.report.verdicts import headlines

if TYPE_CHECKING:
    import jinja2

    from glmstore.store import FeatureStore


def build_report(
    store: FeatureStore, *, suite_summary: SuiteSummary, figures: Sequence[Figure] = (), out: Place
) -> Place:
    """Write the report of everything the store holds.

    Parameters
    ----------
    store
        Results, predictions, benchmarks and provenance are read from it.
    suite_summary
        What the run did and left out.
    figures
        Attribution and GIA figures.
    out
        The file to write; replaced whole, never seen half.

    Returns
    -------
    Path or str
        `out`.

    Raises
    ------
    StoreNotWritableError
        If `out` cannot be written.
    """
    return write_atomically(out, render_report(store, suite_summary, figures).encode())


def render_report(store: FeatureStore, suite_summary: SuiteSummary, figures: Sequence[Figure] = ()) -> str:
    """Return the report as HTML; parameters as for `build_report`."""
    board, results = leaderboard(store), standing(current_results(store))
    sections = sorted(benchmark_sections(store, board, results), key=lambda s: s.is_zero_shot)
    return _template().render(
        summary=suite_summary,
        recipe=recipe(suite_summary, store),
        ran=suite_summary.name != STORED,
        has_results=not board.is_empty(),
        started=_readable(suite_summary.started),
        duration=duration_text(suite_summary.seconds),
        headlines=headlines(board),
        trained=[s for s in sections if not s.is_zero_shot],
        zero_shot=[s for s in sections if s.is_zero_shot],
        benchmarks=sections,
        failed=board.filter(board["status"] != "ok").to_dicts(),
        tuned=tuned_heads(results),
        adapters=adapter_sections(board, results),
        sites=site_effects(results),
        figures=[(f, data_uri(f.png)) for f in figures],
        provenance=provenance_rows(store),
        store_id=store.store_id,
        version=__version__,
    )


def data_uri(png: bytes) -> str:
    """Return a PNG as a ``data:`` URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _readable(started: str) -> str:
    try:
        return f"{datetime.fromisoformat(started):%-d %B %Y, %H:%M %Z}".strip()
    except ValueError:
        return started


@cache
def _template() -> jinja2.Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("glmstore.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"view": view_text, "minus": minus}
    environment.globals["head"] = head_text
    environment.globals |= {"RIVALS": RIVALS, "differences": differences}
    environment.globals |= {"COMPLETE": COMPLETE, "CONTROL": CONTROL, "OWN_TABLE": OWN_TABLE}
    return environment.get_template("report.html.j2")
