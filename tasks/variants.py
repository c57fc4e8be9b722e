"""Score the variants of one cell."""

from __future__ import annotations

from glmstore.extraction import resolve_device
from glmstore.results import Cell
from glmstore.store import FeatureStore
from glmstore.variants.zero_shot import ZeroShotSettings, run_cell
from tasks.policies import alone, compute_task


@compute_task("{cell.head} on {cell.benchmark} with {cell.model}")
def score_variant_cell(store: str, cell: Cell, settings: ZeroShotSettings, *, force: bool = False) -> str:
    """Score every variant of a benchmark with one model and scorer; return the cell's key."""
    opened = FeatureStore.open(store)
    with alone(store, cell.key):
        if force or not opened.completed([cell.key]):
            outcome = run_cell(opened, cell, settings, device=resolve_device())
            opened.write_results(outcome.rows, outcome.predictions)
    return cell.key
