"""The sequences of a plan: those of a file or benchmarks, or so many of one length."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from glmstore.errors import PlanError
from glmstore.sequences.normalise import seq_keys

STAND_INS = 512
"""Random sequences that stand for all those of an ``N×L`` target."""
_SHAPE = re.compile(r"([0-9][0-9_,]*)\s*[x×X*]\s*([0-9][0-9_,]*)")
_LARGEST_NT = 10**9


@dataclass(frozen=True)
class Workload:
    """Distinct sequences, or a few that stand for many.

    Attributes
    ----------
    sequences
        Normalised; each stands for ``n / len(sequences)``.
    n
        Sequences in all.
    identified
        False where the sequences are made up, so that no store can hold them.
    """

    sequences: Sequence[str]
    n: int
    identified: bool = True

    @classmethod
    def of(cls, sequences: Sequence[str]) -> Workload:
        """Return the distinct ones of some sequences."""
        distinct = list(dict.fromkeys(sequences))
        return cls(distinct, len(distinct))

    @classmethod
    def shaped(cls, n: int, length: int) -> Workload:
        """Return `n` made-up sequences of `length` nucleotides."""
        letters = np.random.default_rng(0).choice(
            np.frombuffer(b"ACGT", np.uint8), size=(min(n, STAND_INS, max(1, _LARGEST_NT // length)), length)
        )
        return cls([row.tobytes().decode() for row in letters], n, identified=False)

    @property
    def scale(self) -> float:
        """Sequences that each of `sequences` stands for."""
        return self.n / len(self.sequences) if self.sequences else 1.0

    @cached_property
    def keys(self) -> list[str]:
        """Content keys, in order; meaningless unless `identified`."""
        return seq_keys(list(self.sequences))

    @cached_property
    def lengths(self) -> np.ndarray:
        """int64 [len(sequences)], nucleotides."""
        return np.array([len(s) for s in self.sequences], np.int64)

    @property
    def nt(self) -> int:
        """Nucleotides in all."""
        return round(int(self.lengths.sum()) * self.scale)

    @property
    def longest(self) -> int:
        """Nucleotides of the longest; 0 where there is none."""
        return int(self.lengths.max(initial=0))

    def only(self, keys: Collection[str]) -> Workload:
        """Return the part that has these keys."""
        kept = set(keys)
        part = [s for s, key in zip(self.sequences, self.keys, strict=True) if key in kept]
        return Workload(part, len(part), self.identified)

    def sample(self, count: int) -> list[str]:
        """Return about `count` sequences spread evenly over the lengths, at least one."""
        order = np.argsort(self.lengths, kind="stable")
        take = min(max(count, 1), len(order))
        places = ((np.arange(take) + 0.5) * len(order) / take).astype(np.int64)
        return [self.sequences[i] for i in order[places]]


def parse_shape(text: str) -> Workload | None:
    """Return the workload that ``N×L`` (or ``NxL``) stands for; None for any other text.

    Raises
    ------
    PlanError
        If either number is zero, or a sequence would be longer than any genome.
    """
    match = _SHAPE.fullmatch(text.strip())
    if match is None:
        return None
    n, length = (int(re.sub("[_,]", "", part)) for part in match.groups())
    if n < 1 or not 1 <= length <= _LARGEST_NT:
        raise PlanError(
            f"{text}: N×L are a number of sequences and their length in nucleotides, each at least 1 "
            f"(a length at most {_LARGEST_NT:,})."
        )
    return Workload.shaped(n, length)
