"""Fill a view with what it lacks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np

from glmstore.errors import UnknownNameError, WeightsError
from glmstore.extraction.embedding import Chunk, Progress, embed
from glmstore.extraction.hardware import resolve_device, resolve_precision
from glmstore.models.base import ModelSpec
from glmstore.models.catalogue import get_model
from glmstore.models.encoding import check_lengths
from glmstore.models.provenance import provenance_of
from glmstore.sequences.normalise import seq_keys
from glmstore.views import FeatureView, Pooling

if TYPE_CHECKING:
    from glmstore.store import FeatureStore

COMMIT_ROWS, COMMIT_BYTES = 8_192, 64 * 2**20
"""A commit to the store is as large as either of these; many small ones make every later scan slow."""


@dataclass(frozen=True)
class Materialized:
    """What :func:`materialize` found and did.

    Attributes
    ----------
    view
        The view that now holds every sequence asked for.
    asked, present, computed
        Distinct sequences asked for; of these, already stored; newly embedded.
    seconds
        Wall time.
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
) -> Materialized:
    """Make sure that a view holds these sequences, embedding only those it lacks.

    Rows become visible in commits of thousands; what was committed before an interruption is kept.

    Parameters
    ----------
    store
        Where sequences and features go.
    model_name
        Registry name, plain or derived.
    sequences
        Normalised; repeats are embedded once.
    view
        The view to fill; by default the model's own under `layer` and `pooling`.
    layer, pooling
        Used when no view is given; None takes the model's defaults.
    force
        Drop the view first, with the rows of every sequence it holds, and start it anew.
    progress
        Called with (sequences done, sequences to embed).

    Raises
    ------
    UnknownNameError
        If there is no such model.
    WeightsError
        If `view` belongs to another model or other weights than `model_name` has now.
    LayerError, PoolingError, EmptySequenceError, SequenceTooLongError, NonFiniteFeatureError
        As in :func:`embed`; nothing of the batch concerned is written.
    """
    started = time.monotonic()
    entry = get_model(model_name)
    view = view or entry.spec.view(layer=layer, pooling=pooling)
    _same_model(view, entry.spec)
    distinct = list(dict.fromkeys(sequences))
    check_lengths(entry.spec, [len(s) for s in distinct], [f"sequence {s[:20]}…" for s in distinct])
    keys = seq_keys(distinct)
    device = resolve_device()
    precision = resolve_precision("auto", entry.spec, device)
    provenance, declared = provenance_of(entry.spec, precision), _is_declared(store, view)
    by_key = dict(zip(keys, distinct, strict=True))
    missing, groups = keys, iter(list[list[Chunk]]())
    if declared and not force:
        store.declare(view, provenance)
        missing = store.missing(view, keys)
    if missing:
        model = entry.load(device)
        chunks = embed(
            model,
            [by_key[key] for key in missing],
            layer=view.layer,
            pooling=view.pooling,
            strand=view.strand,
            dtype=view.dtype,
            precision=precision,
            records=[f"sequence {key} ({by_key[key][:20]}…)" for key in missing],
            progress=progress,
        )
        groups = _commits(chunks)
    # The first group is computed before anything is stored or dropped: what the model or the number type
    # cannot take leaves no trace.
    first = list(islice(groups, 1))
    store.add_sequences(distinct)
    if force and declared:
        store.drop(view)
    store.declare(view, provenance)
    for group in chain(first, groups):
        places = np.concatenate([c.indices for c in group])
        store.write(view, [missing[i] for i in places], *_join(group))
    return Materialized(view, len(keys), len(keys) - len(missing), len(missing), time.monotonic() - started)


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


def _commits(chunks: Iterator[Chunk]) -> Iterator[list[Chunk]]:
    """Gather chunks until they make a commit worth its file."""
    group, rows, size = list[Chunk](), 0, 0
    for chunk in chunks:
        group.append(chunk)
        rows, size = rows + len(chunk.indices), size + chunk.values.nbytes
        if rows >= COMMIT_ROWS or size >= COMMIT_BYTES:
            yield group
            group, rows, size = [], 0, 0
    if group:
        yield group


def _join(group: list[Chunk]) -> tuple[np.ndarray, np.ndarray | None]:
    """Stack chunks; token matrices are zero-padded to the longest."""
    lengths = [c.lengths for c in group if c.lengths is not None]
    if not lengths:
        return np.concatenate([c.values for c in group]), None
    width = max(c.values.shape[1] for c in group)
    padded = [np.pad(c.values, ((0, 0), (0, width - c.values.shape[1]), (0, 0))) for c in group]
    return np.concatenate(padded), np.concatenate(lengths)
