"""Results of benchmarks as they are now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from glmstore.report.panel import details_of

if TYPE_CHECKING:
    from glmstore.store import FeatureStore


def current_results(store: FeatureStore) -> pl.DataFrame:
    """Return the result rows of the store, less those measured on items that a benchmark no longer has.

    Registering other items under a known name leaves the older results in the store. Beside newer ones they
    would be numbers of another assay, so reports and leaderboards leave them out. A row that does not say
    what it was measured on is kept.
    """
    held = store.benchmarks()
    digests = dict(zip(held["name"], held["digest"], strict=True))
    results = store.results()
    kept = []
    for row in results.select("benchmark", "details").iter_rows(named=True):
        measured_on = details_of(row).get("benchmark_digest")
        kept.append(measured_on is None or digests.get(row["benchmark"], measured_on) == measured_on)
    return results.filter(pl.Series(kept, dtype=pl.Boolean))
