"""What is left to do: a suite held against a store."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence, Set
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from glmstore.benchmarks.plans import ProbePlan, ViewRequest
from glmstore.benchmarks.suites import Suite
from glmstore.config import Frozen
from glmstore.errors import HeadError, WeightsError
from glmstore.extraction.renewing import make_room
from glmstore.models import get_model
from glmstore.probing import ProbeSettings, TuneSettings, plan_cell
from glmstore.results import Cell
from glmstore.tuning import StudyRef, remaining
from glmstore.views import FeatureView
from glmstore.workspace import Workspace

if TYPE_CHECKING:
    from glmstore.heads.base import Probe
    from glmstore.store import FeatureStore


log = logging.getLogger(__name__)


class FeatureUse(Frozen):
    """One benchmark needing one view."""

    benchmark: str = Field(description="Registered benchmark whose sequences are embedded.")
    view: ViewRequest = Field(description="Model, layer and pooling.")


class FeatureChunk(Frozen):
    """Keys that views of one model lack: one unit of embedding work, addressed by its content."""

    store: str
    views: tuple[FeatureView, ...] = Field(
        min_length=1, description="Views of one model, filled by one pass through it."
    )
    seq_keys: tuple[str, ...]
    range_id: str = Field(description="Digest of all keys asked for, lacking or not, in the chunk's range.")
    number: int = Field(description="1-based number of this chunk within those of its views, for people.")
    of: int = Field(description="Chunks of these views in this plan.")

    @property
    def model(self) -> str:
        """Registry name of the model."""
        return self.views[0].model

    @property
    def n_vectors(self) -> int:
        """Vectors to compute: one a key and view."""
        return len(self.seq_keys) * len(self.views)

    @property
    def work_key(self) -> str:
        """Name of this work for every run that wants the model's vectors of this range of keys.

        Views and lacking keys are no part of it: for a run that starts when another is half done they are
        fewer.
        """
        return f"embed with {self.model} {self.views[0].revision}: {self.range_id}"

    @property
    def name(self) -> str:
        """What people call it: the view, or how many views there are, and its number."""
        what = self.views[0].name if len(self.views) == 1 else f"{self.model}, {len(self.views)} views,"
        return f"{what} {self.number}/{self.of}"


class FeaturePlan(Frozen):
    """What has to be embedded, and how much is there already."""

    chunks: tuple[FeatureChunk, ...]
    asked: int = Field(description="Vectors the uses need, over all views.")
    present: int = Field(description="Of these, how many the store holds.")


class ProbeJob(Frozen):
    """One probe cell with everything its training needs."""

    store: str
    cell: Cell
    view: FeatureView
    settings: ProbeSettings

    def folder(self, beside: Workspace) -> Path | None:
        """Return where the fitted probe of the first seed can be read here, None if it is gone or damaged."""
        from glmstore.heads.saving import load_probe

        try:
            folder = self._fetched(beside)
            if folder is not None:
                load_probe(folder)
        except WeightsError as damage:
            log.warning("the probe of cell %s is as good as gone: %s", self.cell.key, damage)
            return None
        return folder

    def probe(self, beside: Workspace) -> Probe:
        """Return the fitted probe of the first seed.

        Raises
        ------
        WeightsError
            If it is gone or damaged.
        """
        from glmstore.heads.saving import load_probe

        folder = self._fetched(beside)
        if folder is None:
            raise WeightsError(
                f"{beside.probes} holds no probe of cell {self.cell.key}; train it again with --force."
            )
        return load_probe(folder)

    def _fetched(self, beside: Workspace) -> Path | None:
        probes = beside.fetched("probes", self.cell.key)
        folder = probes / f"seed-{self.cell.seeds[0]}" if probes else None
        return folder if folder and folder.is_dir() else None


def resolve_view(request: ViewRequest) -> FeatureView:
    """Return the feature view a request stands for.

    Raises
    ------
    UnknownNameError, LayerError, PoolingError
        If the model, layer or pooling does not exist.
    """
    spec = get_model(request.model).spec
    return spec.view(layer=request.layer, pooling=request.pooling, dtype=request.dtype)


def token_requests(plan: ProbePlan, models: Sequence[ViewRequest]) -> list[ViewRequest]:
    """Return the token-level views that the token heads of `plan` read, in the order of `models`."""
    if not plan.token_heads:
        return []
    return [m.model_copy(update={"pooling": "tokens"}) for m in models if m.model in plan.token_models]


def feature_uses(suite: Suite) -> tuple[FeatureUse, ...]:
    """Return every (benchmark, view) pair that the probes of a suite read, each once."""
    uses = [
        FeatureUse(benchmark=plan.benchmark, view=request)
        for plan in suite.probes
        for request in (*suite.models, *token_requests(plan, suite.models))
    ]
    return tuple(dict.fromkeys(uses))


def forget_features(store: FeatureStore, uses: Iterable[FeatureUse]) -> None:
    """Take the vectors that are asked for out of the store, so that each is computed again."""
    for view, keys in _wanted(store, uses).items():
        make_room(store, view, keys, get_model(view.model).spec)


def plan_features(store: FeatureStore, uses: Iterable[FeatureUse], *, chunk: int = 16_384) -> FeaturePlan:
    """Compare what is asked for with what the store holds.

    Views of one model that lack the same keys share their chunks, so that each sequence goes through the
    model once for all of them. Views read through windows stay apart from those that cannot be.

    A chunk is what is missing in one range of keys. Where the ranges end follows from the keys that are
    asked for, not from those still missing, so that a run that starts when another is half done cuts the
    same chunks as that one and both can tell that they want the same.

    Parameters
    ----------
    store
        Holds the benchmarks already.
    uses
        Pairs of benchmark and view; sequences that several benchmarks share are planned once.
    chunk
        Sequences a chunk holds at most.

    Raises
    ------
    UnknownNameError
        If a model or a benchmark is not known.
    """
    wanted = _wanted(store, uses)
    missing = {view: store.missing(view, keys) for view, keys in wanted.items()}
    chunks: list[FeatureChunk] = []
    for views, lacking in _passes(missing):
        asked_of_all = set.intersection(*(set(wanted[view]) for view in views))
        parts = _ranges(sorted(asked_of_all), set(lacking), chunk)
        chunks += [
            FeatureChunk(
                store=store.uri, views=views, seq_keys=part, range_id=range_id, number=i, of=len(parts)
            )
            for i, (range_id, part) in enumerate(parts, start=1)
        ]
    asked = sum(len(keys) for keys in wanted.values())
    present = asked - sum(len(keys) for keys in missing.values())
    return FeaturePlan(chunks=tuple(chunks), asked=asked, present=present)


def _wanted(store: FeatureStore, uses: Iterable[FeatureUse]) -> dict[FeatureView, list[str]]:
    wanted: dict[FeatureView, dict[str, None]] = {}
    for use in uses:
        needed = store.benchmark_items(use.benchmark)["seq_key"].to_list()
        wanted.setdefault(resolve_view(use.view), {}).update(dict.fromkeys(needed))
    return {view: list(keys) for view, keys in wanted.items()}


def _ranges(asked: Sequence[str], lacking: Set[str], size: int) -> list[tuple[str, tuple[str, ...]]]:
    """Cut sorted keys into ranges of `size`; return digest and what is lacking of each that lacks any."""
    ranges = (asked[i : i + size] for i in range(0, len(asked), size))
    parts = ((keys, tuple(key for key in keys if key in lacking)) for keys in ranges)
    return [
        (blake2b("".join(keys).encode(), digest_size=16).hexdigest(), part) for keys, part in parts if part
    ]


def _passes(
    missing: Mapping[FeatureView, Sequence[str]],
) -> list[tuple[tuple[FeatureView, ...], list[str]]]:
    """Return the views that lack a key, and the keys that just these views lack, model by model."""
    lacking: dict[tuple[str, bool, str], list[FeatureView]] = {}
    for view, keys in missing.items():
        for key in keys:
            lacking.setdefault((view.model, view.pooling == "windowed-mean", key), []).append(view)
    passes: dict[tuple[FeatureView, ...], list[str]] = {}
    for (_, _, key), views in lacking.items():
        passes.setdefault(tuple(views), []).append(key)
    return list(passes.items())


def plan_probes(
    store: FeatureStore, probes: Sequence[ProbePlan], models: Sequence[ViewRequest], seeds: tuple[int, ...]
) -> list[ProbeJob]:
    """Return every probe cell of these plans, those that train longest first.

    Parameters
    ----------
    store
        Holds the benchmarks.
    probes
        What is asked for, benchmark by benchmark.
    models
        Models under test and their controls.
    seeds
        Probe seeds.

    Raises
    ------
    UnknownNameError
        If a benchmark, model or head is not known.
    """
    jobs: list[ProbeJob] = []

    def add(benchmark: str, request: ViewRequest, head: str, settings: ProbeSettings) -> None:
        view = resolve_view(request)
        cell = plan_cell(store, benchmark, view, head, settings)
        jobs.append(ProbeJob(store=store.uri, cell=cell, view=view, settings=settings))

    for plan in probes:
        limited = ProbeSettings(
            seeds=seeds[:1], max_epochs=plan.max_epochs, hyperparameters=plan.hyperparameters or None
        )
        for request in token_requests(plan, models):
            for head in plan.token_heads:
                add(plan.benchmark, request, head, limited)
        for request in models:
            for head in plan.heads:
                add(plan.benchmark, request, head, ProbeSettings(seeds=seeds))
                if get_model(request.model).spec.control == "none":
                    add(plan.benchmark, request, head, ProbeSettings(seeds=seeds, permute_labels=True))
            if plan.tune:
                tune = TuneSettings(n_trials=plan.tune.trials, max_epochs=plan.tune.max_epochs)
                add(plan.benchmark, request, plan.tune.head, ProbeSettings(seeds=seeds, tune=tune))
    return jobs


def trial_batches(study: StudyRef, size: int) -> list[int]:
    """Return how many trials each task of a study runs: what is left of its budget, cut by `size`."""
    left = remaining(study)
    return [min(size, left - start) for start in range(0, left, size)]


def explained_job(jobs: Iterable[ProbeJob], benchmark: str) -> ProbeJob:
    """Return the job whose probe reads one-hot letters through a network.

    Raises
    ------
    HeadError
        If no such probe is among the jobs.
    """
    for job in jobs:
        if job.cell.benchmark == benchmark and job.cell.model == "onehot" and job.cell.head == "cnn":
            return job
    raise HeadError(f"{benchmark} has no probe to explain: add head cnn on onehot tokens to its plan.")
