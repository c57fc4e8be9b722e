"""Fill views with what they lack."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from glmstore.errors import PoolingError, StoreError, UnknownNameError, WeightsError
from glmstore.extraction.embedding import embed_views
from glmstore.extraction.forward import Take
from glmstore.extraction.hardware import resolve_device, resolve_precision
from glmstore.extraction.running import Progress
from glmstore.extraction.workers import fill_on_devices
from glmstore.extraction.writing import CommitWriter, Rows
from glmstore.models.base import GenomicLM, ModelEntry, ModelSpec
from glmstore.models.catalogue import get_model
from glmstore.models.encoding import check_lengths
from glmstore.models.provenance import provenance_of
from glmstore.sequences.normalise import seq_keys
from glmstore.views import FeatureView, Pooling, Provenance

if TYPE_CHECKING:
    from glmstore.store import FeatureStore


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
        store, model_name, sequences, [view], force=force, progress=progress, devices=devices
    )
    return done


def materialize_many(
    store: FeatureStore,
    model_name: str,
    sequences: Sequence[str],
    views: Sequence[FeatureView],
    *,
    force: bool = False,
    progress: Progress | None = None,
    devices: Sequence[str] = (),
) -> list[Materialized]:
    """Make sure that several views of one model hold these sequences, each going through the model once.

    Rows become visible in commits of thousands, written while the model computes on; what was committed
    before an interruption is kept. Nothing is stored or dropped before the first commit is computed.

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
        Drop the views first, with the rows of every sequence they hold, and start them anew.
    progress
        Called with (sequences done, sequences to embed).
    devices
        Torch devices. Several, where one may stand more than once, share the work: each is served by a
        process of its own that holds the model once. None: the one of the settings.

    Returns
    -------
    list of Materialized
        One a view, in order.

    Raises
    ------
    UnknownNameError
        If there is no such model.
    WeightsError
        If a view belongs to another model or other weights than `model_name` has now.
    StoreError
        If several devices are to fill a store that lies in memory.
    WorkerError
        If the process of a device was killed.
    LayerError, PoolingError, EmptySequenceError, SequenceTooLongError, NonFiniteFeatureError, \
DeviceMemoryError
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
    places = [resolve_device(device) for device in devices] or [resolve_device()]
    if len(places) > 1 and store.uri.startswith("memory://"):
        raise StoreError("a store in memory cannot be shared by the processes of several devices.")
    job = _Job(
        store=store,
        entry=entry,
        views=list(views),
        sequences=dict(zip(seq_keys(distinct), distinct, strict=True)),
        precision=resolve_precision("auto", entry.spec, places[0]),
        force=force,
    )
    missing = job.missing()
    if len(places) == 1:
        job.fill(missing, places[0], progress)
    else:
        job.open()
        lacking = {key for absent in missing for key in absent}
        todo = [s for key, s in job.sequences.items() if key in lacking]
        fill_on_devices(places, store.uri, model_name, todo, views, progress)
    seconds, asked = time.monotonic() - started, len(distinct)
    return [
        Materialized(view, asked, asked - len(absent), len(absent), seconds)
        for view, absent in zip(views, missing, strict=True)
    ]


@dataclass
class _Job:
    """One call of :func:`materialize_many` on one device."""

    store: FeatureStore
    entry: ModelEntry
    views: list[FeatureView]
    sequences: dict[str, str]
    precision: Literal["float32", "bfloat16"]
    force: bool
    _declared: set[str] = field(default_factory=set)
    _open: bool = False

    def _provenance(self, view: FeatureView) -> Provenance:
        return provenance_of(self.entry.spec, self.precision, view.pooling)

    def missing(self) -> list[list[str]]:
        """Return, for each view, the keys it lacks; refuses views stored with another origin."""
        keys, lacking = list(self.sequences), []
        for view in self.views:
            there = _is_declared(self.store, view)
            if there:
                self._declared.add(view.view_id)
            if there and not self.force:
                self.store.declare(view, self._provenance(view))
            lacking.append(self.store.missing(view, keys) if there and not self.force else keys)
        return lacking

    def open(self) -> None:
        """Make the store ready for rows, once; not before there are some: failures leave no trace."""
        if self._open:
            return
        self.store.add_sequences(list(self.sequences.values()))
        for view in self.views:
            if self.force and view.view_id in self._declared:
                self.store.drop(view)
            self.store.declare(view, self._provenance(view))
        self._open = True

    def commit(self, number: int, rows: Rows) -> None:
        """Store rows of the view of that number."""
        self.open()
        self.store.write(self.views[number], rows.keys, rows.values, rows.lengths)

    def fill(self, missing: Sequence[Sequence[str]], device: str, progress: Progress | None) -> None:
        """Embed what each view lacks, in as few passes as there are different sets of lacking views."""
        lacking: dict[str, list[int]] = {}
        for number, absent in enumerate(missing):
            for key in absent:
                lacking.setdefault(key, []).append(number)
        passes: dict[tuple[int, ...], list[str]] = {}
        for key, views in lacking.items():
            passes.setdefault(tuple(views), []).append(key)
        if passes:
            model, done = self.entry.load(device), 0
            with CommitWriter(self.commit) as writer:
                for numbers, keys in passes.items():
                    self._pass(writer, model, numbers, keys, device, _shifted(progress, done, len(lacking)))
                    done += len(keys)
        self.open()

    def _pass(
        self,
        writer: CommitWriter,
        model: GenomicLM,
        numbers: Sequence[int],
        keys: list[str],
        device: str,
        progress: Progress | None,
    ) -> None:
        chosen = [self.views[n] for n in numbers]
        chunks = embed_views(
            model,
            [self.sequences[key] for key in keys],
            [Take(v.layer, v.pooling, v.strand, v.dtype) for v in chosen],
            precision=self.precision,
            device=device,
            records=[f"sequence {key} ({self.sequences[key][:20]}…)" for key in keys],
            progress=progress,
        )
        for number, chunk in chunks:
            rows = Rows([keys[i] for i in chunk.indices.tolist()], chunk.values, chunk.lengths)
            del chunk
            writer.add(numbers[number], rows)
            del rows


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Return `progress` for one of several passes, counted over all of them."""
    if progress is None:
        return None
    return lambda done, _: progress(before + done, total)


def _same_model(view: FeatureView, spec: ModelSpec) -> None:
    current = spec.revision or spec.name
    if view.model != spec.name or view.revision != current:
        raise WeightsError(
            f"view {view.name} was made by {view.model} at revision {view.revision[:12]}; {spec.name} is now "
            f"at {current[:12]}. Ask for a new view of it (`glmstore embed … --model {spec.name}`)."
        )


def _is_declared(store: FeatureStore, view: FeatureView) -> bool:
    try:
        store.view(view.view_id)
    except UnknownNameError:
        return False
    return True
