"""Tune and train probes."""

from __future__ import annotations

from glmstore.planning import ProbeJob
from glmstore.probing import run_cell
from glmstore.store import FeatureStore
from glmstore.tuning import StudyRef, best, run_trials
from glmstore.workspace import Workspace
from tasks.policies import alone, compute_task


@compute_task("tune {study.head} on {study.benchmark} with {study.view.model}")
def tune_probe(store: str, study: StudyRef, trials: int) -> int:
    """Run a batch of a study's trials; return how many this task ran."""
    return run_trials(FeatureStore.open(store), study, trials)


@compute_task("{job.cell.head} on {job.cell.benchmark} with {job.cell.model}")
def train_probe(job: ProbeJob, study: StudyRef | None = None, *, force: bool = False) -> str:
    """Train, judge and save the probes of one cell; return the cell's key."""
    store, beside, key = FeatureStore.open(job.store), Workspace.of(job.store), job.cell.key
    with alone(job.store, key):
        if force or not store.completed([key]):
            tuned = best(study) if study else None
            with beside.working_on("probes", [key]) as probes:
                outcome = run_cell(
                    store, job.cell, job.view, settings=job.settings, tuned=tuned, save_to=probes
                )
            outcome.write(store)
    return key
