"""Train probes on stored features: tune alike for every model on validation, judge on test items once."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from prefect import flow
from pydantic import Field

from flows.monitoring import WATCHED
from flows.naming import models_named, named
from flows.outcomes import WorkFailedError, compute_cells, settle, unfinished
from flows.runners import ChosenRunner
from flows.settings import FlowConfig
from glmstore.benchmarks.plans import ProbePlan, ViewRequest
from glmstore.estimating import Plan, probes_dry_run
from glmstore.planning import ProbeJob, plan_probes, trial_batches
from glmstore.stages import Tally
from glmstore.store import FeatureStore
from glmstore.tuning import StudyRef, open_study
from glmstore.workspace import Workspace
from tasks.estimating import publish_plan
from tasks.policies import patiently
from tasks.probes import train_probe, tune_probe


class TrainProbesConfig(FlowConfig):
    """Which heads are trained on which views of which benchmarks."""

    probes: tuple[ProbePlan, ...] = Field(description="Heads, benchmark by benchmark.")
    models: tuple[ViewRequest, ...] = Field(description="Models under test and their controls.")
    seeds: tuple[int, ...] = Field((0,), description="Probe seeds.")
    trials_a_task: int = Field(4, ge=1, description="Trials of a search that one task runs.")

    @property
    def title(self) -> str:
        """Models and benchmarks, for people."""
        models = models_named(view.model for view in self.models)
        return f"{models} on {named(plan.benchmark for plan in self.probes)}"


@flow(
    name="train-probes",
    flow_run_name="probes of {config.title}",
    task_runner=ChosenRunner(),
    **WATCHED,
)
def train_probes(config: TrainProbesConfig) -> Tally | Plan:
    """Tune what is to be tuned, then train and judge the probes that the store has no results of."""
    if config.dry_run:
        asked = (config.probes, config.models, config.seeds)
        return publish_plan(probes_dry_run(config.store, *asked, force=config.force))
    store = patiently(FeatureStore.open, config.store)
    planned = patiently(plan_probes, store, config.probes, config.models, config.seeds)
    jobs = {job.cell.key: job for job in planned}
    cells = [job.cell for job in jobs.values()]
    todo = [jobs[cell.key] for cell in patiently(unfinished, store, cells, force=config.force)]
    studies = tune(store, [job for job in todo if job.settings.tune], config)
    return compute_cells(
        store,
        cells,
        lambda cell: train_probe.submit(jobs[cell.key], studies.get(cell.key), force=config.force),
        stage="probes",
        force=config.force,
    )


def tune(store: FeatureStore, jobs: list[ProbeJob], config: TrainProbesConfig) -> dict[str, StudyRef]:
    """Run what is left of every job's study, in batches of trials; return the studies by cell key."""
    studies = patiently(_open_studies, store, jobs, config)
    batches = patiently(_batches, studies.values(), config.trials_a_task)
    with suppress(WorkFailedError):  # a study that is not finished fails its own cell, with a row of its own
        settle(
            batches,
            lambda batch: tune_probe.submit(config.store, *batch),
            stage="tuning",
            name=lambda batch: f"{batch[1]} trials of {batch[0].title}",
            unit="trials",
            size=lambda batch: batch[1],
        )
    return studies


def _open_studies(
    store: FeatureStore, jobs: Iterable[ProbeJob], config: TrainProbesConfig
) -> dict[str, StudyRef]:
    folder = Workspace.of(config.store).studies
    return {
        job.cell.key: open_study(
            store, job.cell.benchmark, job.view, job.cell.head, job.settings.tune, folder, anew=config.force
        )
        for job in jobs
        if job.settings.tune
    }


def _batches(studies: Iterable[StudyRef], size: int) -> list[tuple[StudyRef, int]]:
    return [(study, n) for study in studies for n in trial_batches(study, size)]
