"""One suite from end to end: fill the store, let every reader read it, write the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from prefect import State, flow
from pydantic import Field

from flows.build_features import BuildFeaturesConfig, build_features
from flows.explain import ExplainConfig, explain
from flows.finetune_adapters import FinetuneAdaptersConfig, finetune_adapters
from flows.monitoring import WATCHED
from flows.naming import models_named, named
from flows.outcomes import WorkFailedError
from flows.runners import ChosenRunner
from flows.score_variants import ScoreVariantsConfig, score_variants
from flows.settings import FlowConfig
from flows.train_probes import TrainProbesConfig, train_probes
from glmstore.benchmarks.suites import Suite, SuiteName, get_suite
from glmstore.estimating import Plan, suite_dry_run
from glmstore.finetuning import FineTuneSettings
from glmstore.planning import feature_uses
from glmstore.report.summary import SuiteSummary
from glmstore.stages import Tally
from tasks.estimating import publish_plan
from tasks.features import register_reachable
from tasks.reporting import publish_report

Stage = Callable[[], State[Any]]


class RunSuiteConfig(FlowConfig):
    """Which suite is run on which store."""

    suite: SuiteName | Suite = Field(description="A suite by name, or written out.")
    command: str | None = Field(None, description="Command line of this run, for the report.")

    def resolved(self) -> Suite:
        """Return the suite itself."""
        return get_suite(self.suite) if isinstance(self.suite, str) else self.suite

    @property
    def title(self) -> str:
        """The suite, its models and benchmarks, for people."""
        suite = self.resolved()
        models = [*(m.model for m in suite.models), *(suite.finetune.models if suite.finetune else ())]
        return f"{suite.name} suite: {models_named(models)} on {named(suite.benchmarks)}"


@flow(name="run-suite", flow_run_name="{config.title}", task_runner=ChosenRunner(), **WATCHED)
def run_suite(config: RunSuiteConfig) -> SuiteSummary | Plan:
    """Run every stage, however the others end, and report; then fail if anything failed."""
    started, clock, asked = datetime.now(UTC), time.monotonic(), config.resolved()
    if config.dry_run:
        return publish_plan(suite_dry_run(config.store, asked, force=config.force))
    left_out = register_reachable(config.store, asked.benchmarks)
    suite = asked.without(set(left_out))
    tally, failures = run_all(stages(suite, config))
    summary = SuiteSummary(
        name=suite.name,
        started=started.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - clock, 1),
        computed_cells=tally.computed,
        reused_cells=tally.reused,
        computed_vectors=tally.vectors_computed,
        reused_vectors=tally.vectors_reused,
        failed_cells=tally.failed,
        left_out=tuple(left_out.items()),
        notes=suite.notes,
        seeds=suite.seeds,
        command=config.command,
    )
    publish_report(config.store, summary)
    if failures:
        raise WorkFailedError(failures, tally)
    return summary


def stages(suite: Suite, config: RunSuiteConfig) -> Iterator[tuple[str, Stage]]:
    """Yield the suite's stages in order: a name, and a call that runs the flow and returns how it ended."""
    shared = config.model_dump(include={"store", "force", "runner"})
    if suite.probes:
        build = BuildFeaturesConfig(**shared, uses=feature_uses(suite))
        probe = TrainProbesConfig(**shared, probes=suite.probes, models=suite.models, seeds=suite.seeds)
        yield "features", lambda: build_features(build, return_state=True)
        yield "probes", lambda: train_probes(probe, return_state=True)
    if plan := suite.finetune:
        settings = FineTuneSettings.for_suite(plan, suite.seeds)
        tune = FinetuneAdaptersConfig(
            **shared, benchmark=plan.benchmark, models=plan.models, settings=settings
        )
        yield "adapters", lambda: finetune_adapters(tune, return_state=True)
    if suite.variants:
        score = ScoreVariantsConfig(**shared, plan=suite.variants)
        yield "variants", lambda: score_variants(score, return_state=True)
    if suite.explain:
        look = ExplainConfig(
            **shared, plan=suite.explain, probes=suite.probes, models=suite.models, seeds=suite.seeds
        )
        yield "explain", lambda: explain(look, return_state=True)


def run_all(planned: Iterator[tuple[str, Stage]]) -> tuple[Tally, list[tuple[str, str]]]:
    """Run every stage, sum what they did, collect what failed; a stage that broke is one failure."""
    total, failures = Tally(), []
    for name, stage in planned:
        outcome = stage().result(raise_on_failure=False)
        if isinstance(outcome, WorkFailedError):
            failures += outcome.failures
            outcome = outcome.tally
        elif isinstance(outcome, BaseException):
            failures.append((name, f"{type(outcome).__name__}: {outcome}"))
            outcome = Tally(failed=1)
        total = total.plus(outcome)
    return total, failures
