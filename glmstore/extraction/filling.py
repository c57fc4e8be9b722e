"""What one device does: embed what each view lacks and write it, in as few passes as there can be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from glmstore import metering
from glmstore.extraction.embedding import embed_views
from glmstore.extraction.forward import Take
from glmstore.extraction.hardware import Computed
from glmstore.extraction.precision import refuse_other_precision, stored_origin
from glmstore.extraction.renewing import make_room
from glmstore.extraction.running import Chunk, Progress
from glmstore.extraction.writing import CommitWriter, Rows
from glmstore.models.base import ModelEntry
from glmstore.models.catalogue import get_model
from glmstore.models.kept import KEPT_MODELS
from glmstore.models.provenance import provenance_of
from glmstore.sequences.normalise import seq_keys
from glmstore.views import FeatureView, Provenance

if TYPE_CHECKING:
    from glmstore.store import FeatureStore


@dataclass(frozen=True)
class Work:
    """What the processes have in common.

    Attributes
    ----------
    uri
        Of a store that processes can share.
    model
        Registry name.
    views
        Of that model.
    precisions
        What each view is computed in.
    force
        Whether rows that the store holds are computed again.
    """

    uri: str
    model: str
    views: list[FeatureView]
    precisions: list[Computed]
    force: bool


class Gate(Protocol):
    """What a process among several asks before it writes; see :mod:`glmstore.extraction.workers`."""

    def checked(self) -> None:
        """Say that all sequences of this process can be embedded, as far as can be told beforehand."""

    def open(self) -> None:
        """Return when the store is ready for rows."""


def fill_share(
    store: FeatureStore, work: Work, sequences: Sequence[str], device: str, gate: Gate, progress: Progress
) -> None:
    """Do what one of several processes does of :func:`~glmstore.extraction.materialize_many`.

    Parameters
    ----------
    store
        The store of `work`, opened here.
    work
        What all processes have in common.
    sequences
        Normalised and distinct, each lacking in one of the views at least.
    device
        Torch device.
    gate
        Asked before anything is written.
    progress
        Called with (sequences done, sequences in all) of this share.
    """
    job = Job(
        store=store,
        entry=get_model(work.model),
        views=work.views,
        sequences=dict(zip(seq_keys(sequences), sequences, strict=True)),
        precisions=work.precisions,
        force=work.force,
        gate=gate,
    )
    job.fill(job.missing(), device, progress)


@dataclass
class Job:
    """The part of :func:`~glmstore.extraction.materialize_many` that one device does.

    Attributes
    ----------
    store
        Where rows go.
    entry
        The model.
    views
        What is filled.
    sequences
        Key -> sequence.
    precisions
        What each view is computed in.
    force
        Whether rows that the store holds are computed again.
    gate
        Asked before anything is written; None where this is the only process.
    """

    store: FeatureStore
    entry: ModelEntry
    views: list[FeatureView]
    sequences: dict[str, str]
    precisions: list[Computed]
    force: bool
    gate: Gate | None = None
    _open: bool = field(default=False, init=False)

    def _origins(self) -> Iterator[tuple[FeatureView, Provenance]]:
        for view, precision in zip(self.views, self.precisions, strict=True):
            yield view, provenance_of(self.entry.spec, precision, view.pooling)

    def missing(self) -> list[list[str]]:
        """Return, for each view, the keys it lacks; refuses views stored with another origin."""
        keys, lacking = list(self.sequences), []
        for view, origin in self._origins():
            there = stored_origin(self.store, view) is not None
            if there and not self.force:
                self.store.declare(view, origin)
            lacking.append(self.store.missing(view, keys) if there and not self.force else keys)
        return lacking

    def open(self) -> None:
        """Make the store ready for rows, once; not before there are some: failures leave no trace."""
        if self._open:
            return
        if self.gate is not None:
            self.gate.open()
        else:
            self._prepare()
        self._open = True

    def _prepare(self) -> None:
        self.store.add_sequences(list(self.sequences.values()))
        for view, origin in self._origins():
            if self.force:
                # Else a view that another process has just begun would be dropped, and get rows of both.
                refuse_other_precision(self.store, view, origin.precision)
                make_room(self.store, view, list(self.sequences), self.entry.spec)
            self.store.declare(view, origin)

    def commit(self, number: int, rows: Rows) -> None:
        """Store rows of the view of that number."""
        self.open()
        self.store.write(self.views[number], rows.keys, rows.values, rows.lengths)
        metering.computed("vector", len(rows.keys))

    def fill(self, missing: Sequence[Sequence[str]], device: str, progress: Progress | None) -> None:
        """Embed what each view lacks, in one pass for each set of views that lack it in one precision."""
        lacking: dict[str, list[int]] = {}
        for number, absent in enumerate(missing):
            for key in absent:
                lacking.setdefault(key, []).append(number)
        passes: dict[tuple[int, ...], list[str]] = {}
        for key, views in lacking.items():
            for alike in self._of_one_precision(views):
                passes.setdefault(alike, []).append(key)
        rows = sum(len(keys) for keys in passes.values())
        ready: list[tuple[tuple[int, ...], list[str], Iterator[tuple[int, Chunk]]]] = []
        if passes:
            model, done = KEPT_MODELS.get(self.entry, device), 0
            # All are checked, which happens at once, before any is computed, which happens when it is read.
            for numbers, keys in passes.items():
                chunks = embed_views(
                    model,
                    [self.sequences[key] for key in keys],
                    [Take(v.layer, v.pooling, v.strand, v.dtype) for v in (self.views[n] for n in numbers)],
                    precision=self.precisions[numbers[0]],
                    device=device,
                    records=[f"sequence {key} ({self.sequences[key][:20]}…)" for key in keys],
                    progress=_shifted(progress, done, rows, len(lacking)),
                )
                ready.append((numbers, keys, chunks))
                done += len(keys)
        # With nothing to do as well, as where another run stored the share meanwhile: others wait for it.
        if self.gate is not None:
            self.gate.checked()
        if ready:
            with CommitWriter(self.commit) as writer:
                for numbers, keys, chunks in ready:
                    _write(writer, numbers, keys, chunks)
        self.open()

    def _of_one_precision(self, views: Sequence[int]) -> list[tuple[int, ...]]:
        """Return these views, by number, apart by what they are computed in."""
        groups: dict[Computed, list[int]] = {}
        for number in views:
            groups.setdefault(self.precisions[number], []).append(number)
        return [tuple(group) for group in groups.values()]


def _write(
    writer: CommitWriter, numbers: Sequence[int], keys: Sequence[str], chunks: Iterator[tuple[int, Chunk]]
) -> None:
    """Hand over the chunks of one pass; `numbers` are those of its views."""
    for number, chunk in chunks:
        rows = Rows([keys[i] for i in chunk.indices.tolist()], chunk.values, chunk.lengths)
        del chunk
        writer.add(numbers[number], rows)
        del rows


def _shifted(progress: Progress | None, before: int, steps: int, sequences: int) -> Progress | None:
    """Return `progress` for one of several passes, which have so many steps together.

    There are more of them than sequences where views of two precisions lack the same one.
    """
    if progress is None:
        return None
    return lambda done, _: progress((before + done) * sequences // steps, sequences)
