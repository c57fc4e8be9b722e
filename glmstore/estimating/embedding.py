"""The plan of an embedding run, as ``glmstore plan`` shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from glmstore.estimating.calibration import SECONDS
from glmstore.estimating.clock import Clock
from glmstore.estimating.devices import available_memory
from glmstore.estimating.features import FeatureRequest, estimate_features
from glmstore.estimating.plan import Plan, Unplanned
from glmstore.estimating.shelf import Shelf
from glmstore.estimating.targets import read_target
from glmstore.estimating.workload import Workload
from glmstore.extraction.hardware import resolve_device

TIMED_SECONDS = SECONDS


def plan_embedding(
    target: str | Sequence[str],
    requests: Sequence[FeatureRequest],
    uri: str,
    *,
    title: str | None = None,
    device: str | None = None,
    price_per_hour: float | None = None,
    announce: Callable[[str], None] | None = None,
) -> Plan:
    """Plan the embedding of a target under the views of one or more models.

    Parameters
    ----------
    target
        A benchmark, a suite or ``N×L``; or sequences themselves, normalised.
    requests
        Views, model by model.
    uri
        The store, which is only read; there may be none yet.
    title
        What to call the target; its own name if not given.
    device
        Torch device that is timed; None takes that of the settings.
    price_per_hour
        Of the device, in any currency; None leaves costs unknown.
    announce
        Told the name of each model before it is timed.

    Raises
    ------
    UnknownNameError
        If the target or a model is not known.
    DeviceError
        If this machine has no such device.
    PlanError, LayerError, PoolingError, EmptySequenceError, SequenceTooLongError
        If the target, or a view of it, makes no sense.
    ChecksumError, TableError, LabelError
        If a benchmark's files are here and cannot be used.
    """
    place = resolve_device(device)
    shelf, clock = Shelf(uri), Clock(place, seconds=TIMED_SECONDS, announce=announce)
    absent: list[Unplanned] = []
    if isinstance(target, str):
        workload, absent = read_target(target, shelf)
    else:
        workload = Workload.of(target)
    features = [
        estimate_features(request, workload, shelf.store, clock, price_per_hour=price_per_hour)
        for request in requests
        if workload.n
    ]
    return Plan(
        title=title or str(target),
        store=shelf.uri,
        store_exists=shelf.store is not None,
        free_bytes=shelf.free_bytes,
        device=place,
        features=tuple(features),
        unplanned=tuple(absent),
        memory_available=available_memory(place),
    )
