"""What embedding a workload with one model takes: vectors, bytes, memory, time, money."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from glmstore.config import Frozen
from glmstore.errors import PlanError, WeightsError
from glmstore.estimating.calibration import Pass
from glmstore.estimating.memory import peak_memory
from glmstore.estimating.quantity import Quantity, unknown
from glmstore.estimating.tokens import count_tokens
from glmstore.estimating.workload import Workload
from glmstore.models.catalogue import get_model
from glmstore.models.encoding import check_lengths
from glmstore.views import DType, FeatureView, Pooling, Strand

if TYPE_CHECKING:
    from glmstore.estimating.calibration import Calibration
    from glmstore.estimating.clock import Clock
    from glmstore.models.base import ModelEntry
    from glmstore.models.spec import ModelSpec
    from glmstore.store import FeatureStore

MILLION = 1_000_000
_HOUR = 3600


class FeatureRequest(Frozen):
    """Views of one model that are to be filled."""

    model: str
    layer: str | int | None = Field(None, description="As `--layer` takes it; None: the model's own.")
    pooling: Pooling | None = None
    strand: Strand = "forward"
    dtype: DType = "float16"

    def layers(self) -> tuple[int, ...]:
        """Return the layers, rising; raises LayerError for one the model has not."""
        return get_model(self.model).spec.resolve_layers(self.layer)


class FeatureEstimate(Frozen):
    """What it takes to give a workload the views of one request."""

    model: str
    here: bool = Field(description="Whether its weights are on this machine.")
    views: tuple[str, ...] = Field(description="Names of the views; none can be named without the weights.")
    layers: tuple[int, ...]
    pooling: Pooling
    strand: Strand
    dtype: DType
    dim: int = Field(description="Numbers of a vector.")
    asked: int = Field(description="Distinct sequences.")
    present: int = Field(description="Of these, how many the store holds under every view.")
    vectors: int = Field(description="Vectors to compute, over all layers; tokens where not pooled.")
    nt: int = Field(description="Nucleotides to compute.")
    size: Quantity
    memory: Quantity
    time: Quantity
    time_per_million: Quantity = Field(description="For a million sequences like these.")
    cost: Quantity
    cost_per_million: Quantity
    notes: tuple[str, ...] = ()

    @property
    def to_compute(self) -> int:
        """Sequences that at least one of the views lacks."""
        return self.asked - self.present

    @property
    def title(self) -> str:
        """The views in short, for people."""
        few = ", ".join(map(str, self.layers))
        shown = few if len(self.layers) <= 3 else f"{self.layers[0]}-{self.layers[-1]} ({len(self.layers)})"
        strand = "" if self.strand == "forward" else f", {self.strand} strand"
        return f"{self.model}, layer {shown}, {self.pooling}{strand}, {self.dtype}"


def estimate_features(
    request: FeatureRequest,
    workload: Workload,
    store: FeatureStore | None,
    clock: Clock,
    *,
    price_per_hour: float | None = None,
    force: bool = False,
    only_what_is_left: bool = False,
) -> FeatureEstimate:
    """Return what a run would have to do for one model.

    Parameters
    ----------
    request
        The views.
    workload
        The sequences.
    store
        Where they would go; None where there is no store yet.
    clock
        Tells the time a pass takes on its device.
    price_per_hour
        Of the device, in any currency; None leaves costs unknown.
    force
        Count what the store holds as missing.
    only_what_is_left
        Leave the model untimed where nothing is missing.

    Raises
    ------
    UnknownNameError, LayerError, PoolingError
        If the model cannot give such views.
    EmptySequenceError, SequenceTooLongError
        If it cannot take a sequence.
    """
    entry, layers = get_model(request.model), request.layers()
    spec = entry.spec
    pooling = request.pooling or spec.default_pooling
    spec.require_pooling(pooling)
    _check(spec, workload, pooling)
    views = _views(entry, request, layers)
    lacking, missing = _lacking(workload, store, views, len(layers), force=force)
    tokens = count_tokens(entry, missing, pooling) if pooling in ("tokens", "nucleotides") else None
    dim, itemsize = spec.width(pooling), np.dtype(request.dtype).itemsize
    # Layers mostly lack the same sequences; where they do not, token counts go by how many each lacks.
    a_sequence = tokens.total / missing.n if tokens and missing.n else 1.0
    vectors = round(sum(lacking) * a_sequence)
    what = "tokens" if tokens else "vectors"
    size = Quantity(
        value=vectors * dim * itemsize,
        unit="bytes",
        basis=tokens.basis if tokens else "exact",
        how=f"{vectors:,} {what} x {dim:,} x {itemsize} B" + (f"; {tokens.how}" if tokens else ""),
    )
    memory = unknown("bytes", "not counted: nothing is missing")
    notes: tuple[str, ...] = ()
    per_million = unknown("seconds", "not timed: nothing is missing")
    if missing.n or not only_what_is_left:
        job = Pass(entry, layers, pooling, request.strand, clock.device)
        memory = peak_memory(job, missing if missing.n else workload, stored=float(size.value or 0))
        per_million, notes = _per_million(entry, layers, pooling, request.strand, workload, clock)
    a_nt = workload.nt / workload.n if workload.n else 1.0
    time = per_million.times(missing.nt / a_nt / MILLION)
    if not missing.n:
        time = Quantity(value=0.0, unit="seconds", basis="exact", how="the store holds everything")
    return FeatureEstimate(
        model=spec.name,
        here=spec.revision is not None,
        views=tuple(view.name for view in views),
        layers=layers,
        pooling=pooling,
        strand=request.strand,
        dtype=request.dtype,
        dim=dim,
        asked=workload.n,
        present=workload.n - missing.n,
        vectors=vectors,
        nt=missing.nt,
        size=size,
        memory=memory,
        time=time,
        time_per_million=per_million,
        cost=_cost(time, price_per_hour),
        cost_per_million=_cost(per_million, price_per_hour),
        notes=(*_facts(spec), *notes),
    )


def _check(spec: ModelSpec, workload: Workload, pooling: Pooling) -> None:
    names = [f"sequence {s[:20]}…" for s in workload.sequences]
    check_lengths(spec, workload.lengths.tolist(), names, windowed=pooling == "windowed-mean")


def _views(entry: ModelEntry, request: FeatureRequest, layers: Sequence[int]) -> list[FeatureView]:
    """Return the views; none where the weights that would name them are not here."""
    try:
        return [
            entry.spec.view(layer=layer, pooling=request.pooling, strand=request.strand, dtype=request.dtype)
            for layer in layers
        ]
    except WeightsError:
        return []


def _lacking(
    workload: Workload, store: FeatureStore | None, views: Sequence[FeatureView], n: int, *, force: bool
) -> tuple[list[int], Workload]:
    """Return how many sequences each of the `n` views lacks, and the part that any of them lacks."""
    if store is None or not views or not workload.identified or force:
        return [workload.n] * n, workload
    missing = [store.missing(view, workload.keys) for view in views]
    return [len(keys) for keys in missing], workload.only({key for keys in missing for key in keys})


def _per_million(
    entry: ModelEntry,
    layers: tuple[int, ...],
    pooling: Pooling,
    strand: Strand,
    workload: Workload,
    clock: Clock,
) -> tuple[Quantity, tuple[str, ...]]:
    if not workload.n:
        return unknown("seconds", "no sequence to time"), ()
    try:
        found = clock.time(entry, layers, pooling, strand, workload)
    except PlanError as error:
        return unknown("seconds", str(error)), ()
    seconds = found.seconds_per_nt * workload.nt / workload.n * MILLION
    basis: Literal["extrapolated", "measured"] = "extrapolated" if found.extrapolated else "measured"
    return Quantity(value=seconds, unit="seconds", basis=basis, how=_timed(found)), found.notes


def _timed(found: Calibration) -> str:
    rate = float(f"{1 / found.seconds_per_nt:.3g}")
    flops = found.flops_per_nt
    speed = f", {flops / found.seconds_per_nt / 1e9:,.3g} GFLOP/s" if flops else ""
    one = "" if found.sequences == 1 else "s"
    return f"{rate:,.0f} nt/s over {found.sequences:,} sequence{one} timed just now{speed}"


def _facts(spec: ModelSpec) -> tuple[str, ...]:
    """Say what is taken from a description rather than from weights."""
    if spec.revision is not None:
        return ()
    return (
        f"its weights are not here (`glmstore models pull {spec.name}`): width, layers and parameters "
        f"({spec.n_parameters:,}) are those published, and nothing of it can be in the store",
    )


def _cost(time: Quantity, price_per_hour: float | None) -> Quantity:
    if price_per_hour is None:
        return unknown("money", "give --price-per-hour")
    if time.value is None:
        return unknown("money", "no time to go by")
    return Quantity(
        value=time.value / _HOUR * price_per_hour,
        unit="money",
        basis=time.basis,
        how=f"{price_per_hour:g} an hour",
    )
