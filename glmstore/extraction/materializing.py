"""Fill views with what they lack."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from logging import getLogger
from typing import TYPE_CHECKING

from glmstore import metering
from glmstore.config import Precision, Settings
from glmstore.errors import PoolingError, StoreError, ViewConflictError, WeightsError
from glmstore.extraction.filling import Job, Work
from glmstore.extraction.hardware import resolve_device
from glmstore.extraction.precision import precisions_for
from glmstore.extraction.running import Progress
from glmstore.extraction.workers import fill_on_devices
from glmstore.models.catalogue import get_model
from glmstore.models.encoding import check_lengths
from glmstore.models.spec import ModelSpec
from glmstore.sequences.normalise import require_normalised, seq_keys
from glmstore.views import FeatureView, Pooling

if TYPE_CHECKING:
    from glmstore.store import FeatureStore

log = getLogger(__name__)


@dataclass(frozen=True)
class Materialized:
    """What :func:`materialize` found and did for one view.

    Attributes
    ----------
    view
        The view that now holds every sequence asked for.
    asked, present, computed
        Distinct sequences asked for; of these, already stored; newly embedded.
    seconds
        Wall time, of all views that were filled together.
    """

    view: FeatureView
    asked: int
    present: int
    computed: int
    seconds: float


def materialize(
    store: FeatureStore,
    model_name: str,
    sequences: Sequence[str],
    *,
    view: FeatureView | None = None,
    layer: int | str | None = None,
    pooling: Pooling | None = None,
    force: bool = False,
    precision: Precision | None = None,
    progress: Progress | None = None,
    devices: Sequence[str] = (),
) -> Materialized:
    """Make sure that a view holds these sequences, embedding only those it lacks.

    Parameters and errors are those of :func:`materialize_many`, but for these.

    Parameters
    ----------
    view
        The view to fill; by default the model's own under `layer` and `pooling`.
    layer, pooling
        Used when no view is given; None takes the model's defaults.
    """
    view = view or get_model(model_name).spec.view(layer=layer, pooling=pooling)
    (done,) = materialize_many(
        store,
        model_name,
        sequences,
        [view],
        force=force,
        precision=precision,
        progress=progress,
        devices=devices,
    )
    return done


def materialize_many(
    store: FeatureStore,
    model_name: str,
    sequences: Sequence[str],
    views: Sequence[FeatureView],
    *,
    force: bool = False,
    precision: Precision | None = None,
    progress: Progress | None = None,
    devices: Sequence[str] = (),
) -> list[Materialized]:
    """Make sure that several views of one model hold these sequences, each going through the model once.

    Rows become visible in commits of thousands, written while the model computes on; what was committed
    before an interruption is kept. Nothing is stored or dropped before the first commit is computed, on all
    devices together.

    Parameters
    ----------
    store
        Where sequences and features go.
    model_name
        Registry name, plain or derived.
    sequences
        Normalised; repeats are embedded once. Longer ones than the model takes need views that are all
        ``windowed-mean``.
    views
        Of this model, each once.
    force
        Compute the rows of these sequences again; the views' other rows stay, but for a view that was made
        by other weights: it is dropped.
    precision
        What is computed in: ``float32``, ``bfloat16`` or ``auto``; None: the settings'. A view holds rows of
        one precision only, so ``auto`` is what it is stored in, on any device (bfloat16 takes longer where it
        is emulated) and under `force` too; a new view is computed in bfloat16 where every device has it
        natively, else in float32. Views of different ones go through the model apart. A model without
        parameters stays with float32, whatever is asked.
    progress
        Called with (sequences done, sequences to embed).
    devices
        Torch devices. Several, where one may stand more than once, share the work: each is served by a
        process of its own that holds the model once. Empty: the one of the settings.

    Returns
    -------
    list of Materialized
        One a view, in order.

    Raises
    ------
    UnknownNameError
        If there is no such model.
    ViewConflictError
        If a view is stored in another precision than the one asked for, or by other weights.
    WeightsError
        If a view belongs to another model or other weights than `model_name` has now.
    StoreError
        If several devices are to fill a store that lies in memory.
    DeviceError
        If this machine has no such device.
    WorkerError
        If the process of a device was killed.
    HostMemoryError
        If a commit does not fit into memory; earlier ones are kept.
    LayerError, PoolingError, EmptySequenceError, AlphabetError, SequenceTooLongError, \
NonFiniteFeatureError, DeviceMemoryError
        As in :func:`embed_views`; nothing of the batch concerned is written.
    """
    started = time.monotonic()
    entry = get_model(model_name)
    if len({view.view_id for view in views}) != len(views):
        raise PoolingError("the same view was asked for twice; ask for each once.")
    for view in views:
        _same_model(view, entry.spec)
    distinct = list(dict.fromkeys(sequences))
    named = [f"sequence {s[:20]}…" for s in distinct]
    windowed = all(view.pooling == "windowed-mean" for view in views)
    check_lengths(entry.spec, [len(s) for s in distinct], named, windowed=windowed)
    require_normalised(distinct, named)
    places = [resolve_device(device) for device in devices] or [resolve_device()]
    if len(places) > 1 and store.uri.startswith("memory://"):
        raise StoreError("a store in memory cannot be shared by the processes of several devices.")
    asked_for = precision or Settings().precision
    precisions = partial(precisions_for, store, views, asked_for, entry.spec, places)
    job = Job(
        store=store,
        entry=entry,
        views=list(views),
        sequences=dict(zip(seq_keys(distinct), distinct, strict=True)),
        precisions=precisions(),
        force=force,
    )
    try:
        missing = _fill(job, model_name, places, progress)
    except ViewConflictError:
        recorded = precisions()
        if recorded == job.precisions:
            raise
        # Before the first commit another process has declared a new view, in what suits its own devices.
        log.warning("a view of %s was begun elsewhere in another precision: computing again", model_name)
        missing = _fill(replace(job, precisions=recorded), model_name, places, progress)
    metering.reused("vector", sum(len(distinct) - len(absent) for absent in missing))
    seconds, asked = time.monotonic() - started, len(distinct)
    return [
        Materialized(view, asked, asked - len(absent), len(absent), seconds)
        for view, absent in zip(views, missing, strict=True)
    ]


def _fill(job: Job, model_name: str, places: Sequence[str], progress: Progress | None) -> list[list[str]]:
    """Fill the views of a job on one device or several; return the keys that each view lacked."""
    missing = job.missing()
    with metering.embedding(model_name) if any(missing) else nullcontext():
        if len(places) == 1:
            job.fill(missing, places[0], progress)
        else:
            lacking = {key for absent in missing for key in absent}
            todo = [s for key, s in job.sequences.items() if key in lacking]
            work = Work(job.store.uri, model_name, job.views, job.precisions, job.force)
            fill_on_devices(places, work, todo, job.open, progress)
            job.open()
    return missing


def _same_model(view: FeatureView, spec: ModelSpec) -> None:
    current = spec.revision or spec.name
    if view.model != spec.name or view.revision != current:
        raise WeightsError(
            f"view {view.name} was made by {view.model} at revision {view.revision[:12]}; {spec.name} is now "
            f"at {current[:12]}. Ask for a new view of it (`glmstore embed … --model {spec.name}`)."
        )
