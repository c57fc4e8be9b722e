"""What each flow would do: the same plans the flows make, held against the store, and nothing carried out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from glmstore.benchmarks.plans import ViewRequest
from glmstore.errors import GlmstoreError, PlanError
from glmstore.estimating.clock import Clock
from glmstore.estimating.devices import available_memory
from glmstore.estimating.features import FeatureEstimate, FeatureRequest, estimate_features
from glmstore.estimating.plan import Plan
from glmstore.estimating.shelf import Shelf
from glmstore.estimating.work import Ledger, note_adapters, note_explanations, note_probes, note_variants
from glmstore.estimating.workload import Workload
from glmstore.extraction.hardware import resolve_device
from glmstore.finetuning import FineTuneSettings
from glmstore.models.catalogue import get_model
from glmstore.planning import FeatureUse, feature_uses
from glmstore.variants.base import compared_pooling
from glmstore.variants.zero_shot import ZeroShotSettings

if TYPE_CHECKING:
    from glmstore.benchmarks.base import Benchmark
    from glmstore.benchmarks.plans import ExplainPlan, ProbePlan, VariantPlan
    from glmstore.benchmarks.suites import Suite

CALIBRATION_SECONDS = 1.0
"""About how long each kind of model is timed: a suite has several."""


class DryRun:
    """A plan in the making.

    Parameters
    ----------
    uri
        The store, which is only read; there may be none yet.
    force
        Plan as if the store were empty.
    own
        Benchmarks that are neither in the registry nor in the store.
    announce
        Told the name of each model before it is timed.

    Raises
    ------
    DeviceError
        If this machine has no such device as the settings name.
    StoreVersionError
        If this glmstore cannot read the store.
    """

    def __init__(
        self,
        uri: str,
        *,
        force: bool = False,
        own: Iterable[Benchmark] = (),
        announce: Callable[[str], None] | None = None,
    ) -> None:
        self.device = resolve_device()
        self.shelf = Shelf(uri, own)
        self.ledger = Ledger(self.shelf, force=force)
        self._clock = Clock(self.device, seconds=CALIBRATION_SECONDS, announce=announce)
        self._features: list[FeatureEstimate] = []

    def features(self, uses: Sequence[FeatureUse]) -> None:
        """Plan the vectors that benchmarks need; sequences they share are counted once for each view."""
        benchmarks: dict[ViewRequest, list[str]] = {}
        for use in uses:
            benchmarks.setdefault(use.view, []).append(use.benchmark)
        for view, names in benchmarks.items():
            sequences = [s for name in names for s in self._sequences(name)]
            request = FeatureRequest(
                model=view.model, layer=view.layer, pooling=view.pooling, dtype=view.dtype
            )
            self._fill(request, Workload.of(sequences))

    def windows(self, embedded: dict[str, set[str]], settings: ZeroShotSettings) -> None:
        """Plan the vectors that scorers on embeddings read: of every window and of the reference."""
        models: dict[str, list[str]] = {}
        for benchmark, names in embedded.items():
            for name in sorted(names):
                models.setdefault(name, []).append(benchmark)
        strands = ("forward",) if settings.strands == "forward" else ("forward", "reverse")
        for model, benchmarks in models.items():
            sequences = [s for name in benchmarks for s in self._windows(name)]
            for strand in strands:
                request = FeatureRequest(
                    model=model,
                    layer=settings.layer,
                    pooling=compared_pooling(get_model(model).spec),
                    strand=strand,
                )
                self._fill(request, Workload.of(sequences))

    def plan(self, title: str, notes: Sequence[str] = ()) -> Plan:
        """Return what was found."""
        return Plan(
            title=title,
            store=self.shelf.uri,
            store_exists=self.shelf.store is not None,
            free_bytes=self.shelf.free_bytes,
            device=self.device,
            features=tuple(self._features),
            work=tuple(self.ledger.work),
            unplanned=tuple(self.ledger.unplanned),
            notes=(*notes, *self.ledger.notes),
            memory_available=available_memory(self.device),
        )

    def attempt(self, stage: str, step: Callable[[], object]) -> None:
        """Plan one stage of several; what would make it fail in the run is noted, and the others go on."""
        try:
            step()
        except PlanError:
            raise
        except GlmstoreError as error:
            self.ledger.leave(stage, f"would fail: {error}")

    def _fill(self, request: FeatureRequest, workload: Workload) -> None:
        if not workload.n:
            return
        if get_model(request.model).spec.revision is None:
            self.ledger.with_weights([request.model])
        self._features.append(
            estimate_features(
                request,
                workload,
                self.shelf.store,
                self._clock,
                force=self.ledger.force,
                only_what_is_left=True,
            )
        )

    def _sequences(self, benchmark: str) -> list[str]:
        store = self.ledger.holder(benchmark)
        return [] if store is None else store.benchmark_items(benchmark)["sequence"].to_list()

    def _windows(self, benchmark: str) -> list[str]:
        store = self.ledger.holder(benchmark)
        reference = store.benchmark_facts(benchmark).get("reference") if store is not None else None
        return [*([str(reference)] if reference else []), *self._sequences(benchmark)]


def features_dry_run(uri: str, uses: Sequence[FeatureUse], *, force: bool = False) -> Plan:
    """Plan what ``build_features`` would embed; errors as of `DryRun` and `estimate_features`."""
    run = DryRun(uri, force=force)
    run.features(uses)
    return run.plan("build-features")


def probes_dry_run(
    uri: str,
    probes: Sequence[ProbePlan],
    models: Sequence[ViewRequest],
    seeds: tuple[int, ...],
    *,
    force: bool = False,
) -> Plan:
    """Plan what ``train_probes`` would train; errors as of :class:`DryRun` and :func:`note_probes`."""
    run = DryRun(uri, force=force)
    note_probes(run.ledger, probes, models, seeds)
    return run.plan("train-probes")


def adapters_dry_run(
    uri: str, benchmark: str, models: Sequence[str], settings: FineTuneSettings, *, force: bool = False
) -> Plan:
    """Plan what ``finetune_adapters`` would train; errors as of :class:`DryRun` and :func:`note_adapters`."""
    run = DryRun(uri, force=force)
    note_adapters(run.ledger, benchmark, models, settings)
    return run.plan("finetune-adapters")


def variants_dry_run(uri: str, plan: VariantPlan, settings: ZeroShotSettings, *, force: bool = False) -> Plan:
    """Plan what ``score_variants`` would score; errors as of :class:`DryRun` and :func:`note_variants`."""
    run = DryRun(uri, force=force)
    run.windows(note_variants(run.ledger, plan, settings), settings)
    return run.plan("score-variants")


def explanations_dry_run(
    uri: str,
    plan: ExplainPlan,
    probes: Sequence[ProbePlan],
    models: Sequence[ViewRequest],
    seeds: tuple[int, ...],
    *,
    force: bool = False,
) -> Plan:
    """Plan what ``explain`` would explain; errors as of :class:`DryRun` and :func:`note_explanations`."""
    run = DryRun(uri, force=force)
    note_explanations(run.ledger, plan, probes, models, seeds)
    return run.plan("explain")


def suite_dry_run(
    uri: str,
    suite: Suite,
    *,
    force: bool = False,
    own: Iterable[Benchmark] = (),
    announce: Callable[[str], None] | None = None,
) -> Plan:
    """Plan every stage of a suite; a stage that would fail is named in the plan.

    Parameters and errors are those of :class:`DryRun`.
    """
    run = DryRun(uri, force=force, own=own, announce=announce)
    scoring = ZeroShotSettings()
    variants, tuned, explained = suite.variants, suite.finetune, suite.explain
    if suite.probes:
        run.attempt("features", lambda: run.features(feature_uses(suite)))
        run.attempt("probes", lambda: note_probes(run.ledger, suite.probes, suite.models, suite.seeds))
    if tuned is not None:
        settings = FineTuneSettings.for_suite(tuned, suite.seeds)
        run.attempt("adapters", lambda: note_adapters(run.ledger, tuned.benchmark, tuned.models, settings))
    if variants is not None:
        run.attempt("variants", lambda: run.windows(note_variants(run.ledger, variants, scoring), scoring))
    if explained is not None:
        run.attempt(
            "explanations",
            lambda: note_explanations(run.ledger, explained, suite.probes, suite.models, suite.seeds),
        )
    return run.plan(f"{suite.name} suite", suite.notes)
