"""Probes: train a head on stored features, choose on validation, judge on the test items once."""

from glmstore.probing.cells import CellOutcome, failed_outcome, plan_cell, run_cell
from glmstore.probing.data import fit_data
from glmstore.probing.overlap import pretraining_overlap
from glmstore.probing.settings import ProbeSettings, Tuned, TuneSettings

__all__ = [
    "CellOutcome",
    "ProbeSettings",
    "TuneSettings",
    "Tuned",
    "failed_outcome",
    "fit_data",
    "plan_cell",
    "pretraining_overlap",
    "run_cell",
]
