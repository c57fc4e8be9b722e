"""What is left to do: a suite held against a store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from glmstore.benchmarks.suites import ProbePlan, Suite, ViewRequest
from glmstore.config import Frozen
from glmstore.models import get_model
from glmstore.views import FeatureView

if TYPE_CHECKING:
    from glmstore.store import FeatureStore


class FeatureUse(Frozen):
    """One benchmark needing one view."""

    benchmark: str = Field(description="Registered benchmark whose sequences are embedded.")
    view: ViewRequest = Field(description="Model, layer and pooling.")


class FeatureChunk(Frozen):
    """Keys that a view lacks: one unit of embedding work, addressed by its content."""

    store: str
    view: FeatureView
    keys: tuple[str, ...]
    number: int = Field(description="1-based number of this chunk within its view, for people.")
    of: int = Field(description="Chunks of this view in this plan.")


class FeaturePlan(Frozen):
    """What has to be embedded, and how much is there already."""

    chunks: tuple[FeatureChunk, ...]
    asked: int = Field(description="Vectors the uses need, over all views.")
    present: int = Field(description="Of these, how many the store holds.")


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


def plan_features(
    store: FeatureStore, uses: Iterable[FeatureUse], *, chunk: int = 16_384, force: bool = False
) -> FeaturePlan:
    """Compare what is asked for with what the store holds.

    Parameters
    ----------
    store
        Holds the benchmarks already.
    uses
        Pairs of benchmark and view; sequences that several benchmarks share are planned once.
    chunk
        Sequences a chunk holds at most.
    force
        Plan every key again, stored or not.

    Raises
    ------
    UnknownNameError
        If a model or a benchmark is not known.
    """
    wanted: dict[FeatureView, dict[str, None]] = {}
    for use in uses:
        keys = store.benchmark_items(use.benchmark)["seq_key"]
        wanted.setdefault(resolve_view(use.view), {}).update(dict.fromkeys(keys.to_list()))
    chunks: list[FeatureChunk] = []
    missing_total = 0
    for view, keys in wanted.items():
        missing = list(keys) if force else store.missing(view, list(keys))
        missing_total += len(missing)
        parts = [tuple(missing[i : i + chunk]) for i in range(0, len(missing), chunk)]
        chunks += [
            FeatureChunk(store=store.uri, view=view, keys=part, number=i, of=len(parts))
            for i, part in enumerate(parts, start=1)
        ]
    asked = sum(len(keys) for keys in wanted.values())
    return FeaturePlan(chunks=tuple(chunks), asked=asked, present=asked - missing_total)
