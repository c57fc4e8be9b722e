"""How much of what is tested on was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glmstore.data.kmers import KmerSets
from glmstore.sequences.onehot import reverse_complement

_K, _ROUNDS = 10, 16  # length of k-mers, rounds of MinHash
_DIRECTIONS = (("train", "valid"), ("train", "test"), ("valid", "test"))


@dataclass(frozen=True)
class Leakage:
    """Items of one part that are also, or nearly, in another; each is counted once, where it fits first.

    Attributes
    ----------
    seen, held_out
        The two parts: what was fitted or chosen on, and what is looked at.
    items
        Items held out.
    exact
        Those whose sequence is in `seen`.
    reverse_complement
        Those whose reverse complement is in `seen`.
    near
        Those with a Jaccard index of canonical k-mers of at least the threshold with one in `seen`. Found by
        MinHash, so a lower bound; all but certain above the default threshold. None where not asked for.
    """

    seen: str
    held_out: str
    items: int
    exact: int
    reverse_complement: int
    near: int | None

    @property
    def fraction(self) -> float:
        """The share of held-out items that leak in any of the three ways."""
        return (self.exact + self.reverse_complement + (self.near or 0)) / self.items if self.items else 0.0


def leakage_report(
    sequences: Sequence[str], split: Sequence[str], *, near: float | None = 0.5
) -> tuple[Leakage, ...]:
    """Count the leaks from train to valid, train to test, and valid to test.

    Parameters
    ----------
    sequences
        Normalised sequences.
    split
        The part of each: train, valid or test.
    near
        Jaccard index of their 10-mers from which two sequences are near duplicates. None: only exact and
        reverse-complement duplicates are counted, in a fraction of the time.
    """
    parts = np.asarray(split, dtype=str)
    sets = KmerSets(sequences, _K) if near is not None else None
    sketches = [sets.minhash(index) for index in range(_ROUNDS)] if sets is not None else []
    report = []
    for seen, held_out in _DIRECTIONS:
        known = np.flatnonzero(parts == seen)
        asked = np.flatnonzero(parts == held_out)
        known_sequences = {sequences[i] for i in known.tolist()}
        exact = np.array([sequences[i] in known_sequences for i in asked.tolist()], np.bool_)
        flipped = np.array(
            [reverse_complement(sequences[i]) in known_sequences for i in asked.tolist()], np.bool_
        )
        alike = None
        if sets is not None and near is not None:
            alike = _is_near(sets, sketches, known, asked, near)
        report.append(
            Leakage(
                seen=seen,
                held_out=held_out,
                items=len(asked),
                exact=int(exact.sum()),
                reverse_complement=int((flipped & ~exact).sum()),
                near=None if alike is None else int((alike & ~exact & ~flipped).sum()),
            )
        )
    return tuple(report)


def leakage_facts(report: Sequence[Leakage]) -> dict[str, int]:
    """Return the report as flat facts: ``leaked_train_to_test_exact``, …, one for every count."""
    return {
        f"leaked_{leak.seen}_to_{leak.held_out}_{kind}": getattr(leak, kind)
        for leak in report
        for kind in ("exact", "reverse_complement", "near")
        if getattr(leak, kind) is not None
    }


def _is_near(
    sets: KmerSets,
    sketches: Sequence[NDArray[np.uint64]],
    known: NDArray[np.int64],
    asked: NDArray[np.int64],
    threshold: float,
) -> NDArray[np.bool_]:
    found = np.zeros(len(asked), np.bool_)
    if not len(known):
        return found
    for sketch in sketches:
        order = known[np.argsort(sketch[known], kind="stable")]
        ordered = sketch[order]
        for side, step in (("left", 0), ("right", -1)):
            # The first and the last known sequence with the same sketch: two chances a round.
            at = np.clip(np.searchsorted(ordered, sketch[asked], side=side) + step, 0, len(order) - 1)  # type: ignore[call-overload]
            open_ = np.flatnonzero((ordered[at] == sketch[asked]) & ~found)
            found[open_] = sets.jaccard(asked[open_], order[at[open_]]) >= threshold
    return found
