"""Count what a store holds against what its writers were told: rows lost, partial and doubled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from glmstore.store import FeatureStore
from infra.chaos.content import POOLED, ROWS, TOKENS, Chunk
from infra.chaos.nest import Step

_AT_ONCE = 64
_VIEWS = {"pooled": POOLED, "tokens": TOKENS}


@dataclass
class Census:
    """What was found.

    Attributes
    ----------
    lost
        Rows that a writer was told are stored, and are not.
    partial
        Rows of a commit that shows in part, or that hold other numbers than were written.
    duplicated
        Rows beyond the first of their key.
    notes
        Each finding in words.
    """

    lost: int = 0
    partial: int = 0
    duplicated: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing at all was found."""
        return not (self.lost or self.partial or self.duplicated or self.notes)

    def add(self, what: str, *, lost: int = 0, partial: int = 0, duplicated: int = 0) -> None:
        """Record a finding, unless all its counts are 0."""
        if lost or partial or duplicated:
            self.lost, self.partial = self.lost + lost, self.partial + partial
            self.duplicated += duplicated
            self.notes.append(f"{what}: {lost} lost, {partial} partial, {duplicated} doubled")

    def join(self, other: Census) -> None:
        """Add what another census found."""
        self.lost, self.partial = self.lost + other.lost, self.partial + other.partial
        self.duplicated += other.duplicated
        self.notes += other.notes


def census(uri: str, numbers: Iterable[int], acknowledged: set[Step]) -> Census:
    """Open the store anew and hold every row of it against what was to be written.

    Parameters
    ----------
    uri
        Of the store.
    numbers
        Chunks that may be there, whole or not at all.
    acknowledged
        (step, chunk) that were reported as written and must be there.
    """
    found = Census()
    if not acknowledged:
        return found  # nobody was told that so much as the store is there
    store = FeatureStore.open(uri, create=False)
    ordered = sorted(set(numbers))
    for first in range(0, len(ordered), _AT_ONCE):
        chunks = [Chunk(number) for number in ordered[first : first + _AT_ONCE]]
        _features(store, chunks, acknowledged, found)
        _cells(store, chunks, acknowledged, found)
    _doubles(store, found)
    found.notes += store.check().problems
    return found


def _features(store: FeatureStore, chunks: list[Chunk], known: set[Step], found: Census) -> None:
    keys = [key for chunk in chunks for key in chunk.keys]
    stored = {step: set(keys) - set(store.missing(view, keys)) for step, view in _VIEWS.items()}
    held = store.sequences()
    stored["sequences"] = set(held["seq_key"]) & set(keys)
    for chunk in chunks:
        for step, there in stored.items():
            for rows in chunk.commits(step):
                present = sum(chunk.keys[i] in there for i in rows)
                absent = len(rows) - present
                if (step, chunk.number) in known:
                    found.add(f"{step} of chunk {chunk.number}", lost=absent)
                elif absent:
                    found.add(f"{step} of chunk {chunk.number}", partial=present)
    text = dict(zip(held["seq_key"], held["sequence"], strict=True))
    expected = {k: s for chunk in chunks for k, s in zip(chunk.keys, chunk.sequences, strict=True)}
    found.add("letters of sequences", partial=sum(text[k] != expected[k] for k in stored["sequences"]))
    for step, view in _VIEWS.items():
        found_rows = [(c, i) for c in chunks for i, key in enumerate(c.keys) if key in stored[step]]
        if not found_rows:
            continue
        read = store.read(view, [c.keys[i] for c, i in found_rows])
        written = np.stack([getattr(c, step)[i] for c, i in found_rows])[:, : read.values.shape[1]]
        wrong = (read.values != written).reshape(len(found_rows), -1).any(axis=1)
        if read.lengths is not None:
            wrong |= read.lengths != [int(c.lengths[i]) for c, i in found_rows]
        found.add(f"numbers of {step}", partial=int(wrong.sum()))


def _cells(store: FeatureStore, chunks: list[Chunk], known: set[Step], found: Census) -> None:
    cells = [chunk.cell for chunk in chunks]
    completed, predictions, rows = store.completed(cells), store.predictions(cells), store.results()
    for chunk in chunks:
        mine = predictions.filter(predictions["cell_key"] == chunk.cell)
        n_rows = rows.filter(rows["cell_key"] == chunk.cell).height
        what = f"cell of chunk {chunk.number}"
        if chunk.cell not in completed:
            lost = ROWS + 2 if ("results", chunk.number) in known else 0
            found.add(what, lost=lost, partial=n_rows + len(mine))
            continue
        distinct = mine.unique("item_id").height
        same = mine.equals(chunk.predictions().select(mine.columns))
        found.add(
            what,
            partial=0 if same else max(1, ROWS - distinct) + max(0, 2 - n_rows),
            duplicated=len(mine) - distinct + max(0, n_rows - 2),
        )
        found.add(f"{what}, its rows", partial=max(0, 2 - n_rows) if same else 0)


def _doubles(store: FeatureStore, found: Census) -> None:
    """Count keys in the tables themselves: reading by key would not show a second row."""
    keys = store.sequences()["seq_key"]
    found.add("sequences", duplicated=len(keys) - keys.n_unique())
    for step, view in _VIEWS.items():
        batches = [batch.column("seq_key") for batch in store.scan(view)]
        total = sum(map(len, batches))
        distinct = pc.count_distinct(pa.chunked_array(batches)).as_py() if batches else 0
        found.add(step, duplicated=total - distinct)
