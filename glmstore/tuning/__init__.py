"""Tuning: one Optuna study for every benchmark, view and head, with the same budget for every model."""

from glmstore.probing.settings import Tuned, TuneSettings
from glmstore.tuning.study import (
    StudyRef,
    best,
    open_study,
    remaining,
    run_trials,
)

__all__ = [
    "StudyRef",
    "TuneSettings",
    "Tuned",
    "best",
    "open_study",
    "remaining",
    "run_trials",
]
