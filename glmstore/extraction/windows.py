"""Sequences longer than a model's context, read through windows that together count each nucleotide once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from glmstore.models.encoding import TokenLimited
from glmstore.sequences.onehot import reverse_complement

MOST_SPECIALS = 2
"""Special tokens around a sequence, at most; its letters make no more tokens than there are letters."""
LETTERS_AT_ONCE = 2**20
"""Letters whose tokens are counted together."""


class Piece(NamedTuple):
    """A part of a sequence that goes through the model by itself; coordinates are 0-based, half-open.

    Attributes
    ----------
    record
        Place of the sequence in the list that was given.
    start, end
        What the model sees, in the coordinates of the strand that is embedded.
    own_start, own_end
        What this piece answers for: the nucleotides that no other piece of the sequence counts.
    """

    record: int
    start: int
    end: int
    own_start: int
    own_end: int

    @property
    def own(self) -> tuple[int, int]:
        """What it answers for, in the coordinates of what the model sees."""
        return self.own_start - self.start, self.own_end - self.start

    def text(self, sequence: str, strand: str) -> str:
        """Return what the model sees of `sequence` on a strand, ``forward`` or ``reverse``."""
        if strand == "forward":
            return sequence[self.start : self.end]
        return reverse_complement(sequence[len(sequence) - self.end : len(sequence) - self.start])


def windows(record: int, length: int, size: int) -> list[Piece]:
    """Cut a sequence into windows of `size` nucleotides; the last one ends with the sequence, so it is full.

    Where the last two overlap, each answers for the half of the overlap that lies deeper inside it.
    """
    starts = [*range(0, max(length - size, 0), size), max(length - size, 0)]
    ends = [min(start + size, length) for start in starts]
    # Abutting windows meet at their common border, which the same formula gives.
    borders = [0, *((end + start) // 2 for end, start in zip(ends[:-1], starts[1:], strict=True)), length]
    return [
        Piece(record, start, end, *own)
        for start, end, own in zip(starts, ends, pairwise(borders), strict=True)
    ]


def cut(lengths: Sequence[int], size: int | None) -> list[Piece]:
    """Return the pieces of all sequences: windows of `size`, or whole sequences where it is None."""
    if size is None:
        return [Piece(i, 0, length, 0, length) for i, length in enumerate(lengths)]
    return [piece for i, length in enumerate(lengths) for piece in windows(i, length, size)]


def halves(piece: Piece) -> list[Piece]:
    """Cut a piece in the middle; a half that would answer for nothing is left out."""
    middle = (piece.start + piece.end) // 2
    left = piece._replace(end=middle, own_end=min(piece.own_end, middle))
    right = piece._replace(start=middle, own_start=max(piece.own_start, middle))
    return [half for half in (left, right) if half.own_start < half.own_end]


def too_many_tokens(
    model: object, pieces: Sequence[Piece], sequences: Sequence[str], strands: Sequence[str]
) -> dict[int, int]:
    """Return place -> tokens of the pieces that take more than the context holds, on either strand.

    Costs nothing for models whose context is told in nucleotides, nor for pieces that are short enough
    whatever their letters.
    """
    if not isinstance(model, TokenLimited) or model.max_tokens is None:
        return {}
    limit = model.max_tokens
    found: dict[int, int] = {}
    doubtful = [i for i, p in enumerate(pieces) if p.end - p.start + MOST_SPECIALS > limit]
    for block in _blocks(doubtful, lambda i: pieces[i].end - pieces[i].start):
        for strand in strands:
            texts = [pieces[i].text(sequences[pieces[i].record], strand) for i in block]
            for i, count in zip(block, model.count_tokens(texts).tolist(), strict=True):
                if count > limit:
                    found[i] = max(count, found.get(i, 0))
    return found


def fitting(model: object, pieces: Sequence[Piece], sequences: Sequence[str]) -> list[Piece]:
    """Return the pieces in order, those with too many tokens halved until each part fits the context.

    Both strands have to fit, whichever is embedded: a view's windows must not depend on what else is asked.
    """
    parts = list(pieces)
    while over := too_many_tokens(model, parts, sequences, ("forward", "reverse")):
        parts = [part for i, p in enumerate(parts) for part in (halves(p) if i in over else [p])]
    return parts


def _blocks(places: Sequence[int], letters: Callable[[int], int]) -> list[list[int]]:
    """Cut places into runs of about `LETTERS_AT_ONCE` letters."""
    blocks: list[list[int]] = []
    room = 0
    for place in places:
        if room <= 0:
            blocks.append([])
            room = LETTERS_AT_ONCE
        blocks[-1].append(place)
        room -= letters(place)
    return blocks


class WindowSums:
    """Puts the means of windows together, weighted by the nucleotides each answers for.

    Holds one vector for each sequence of which some windows, but not all, were seen.

    Parameters
    ----------
    pieces
        All there are.
    lengths
        Of the sequences.
    """

    def __init__(self, pieces: Sequence[Piece], lengths: Sequence[int]) -> None:
        self._pieces, self._lengths = pieces, lengths
        self._partial: dict[tuple[int, int], tuple[np.ndarray, int]] = {}

    def add(self, view: int, places: np.ndarray, means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take in the means [n, D] of the pieces at `places` and return the sequences that are complete.

        Returns
        -------
        indices
            int64 [m], places of the sequences.
        values
            float64 [m, D].
        """
        complete: dict[int, np.ndarray] = {}
        for place, mean in zip(places, means, strict=True):
            piece = self._pieces[place]
            share = piece.own_end - piece.own_start
            total, seen = self._partial.pop((view, piece.record), (np.zeros(means.shape[1]), 0))
            total, seen = total + share * mean.astype(np.float64), seen + share
            if seen == self._lengths[piece.record]:
                complete[piece.record] = total / seen
            else:
                self._partial[view, piece.record] = total, seen
        values = np.stack(list(complete.values())) if complete else np.empty((0, means.shape[1]))
        return np.fromiter(complete, np.int64, len(complete)), values
