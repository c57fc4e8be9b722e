"""Genomic coordinates as values: intervals are 0-based half-open, variants 1-based."""

from __future__ import annotations

import re
from dataclasses import dataclass

from glmstore.errors import IntervalError, VariantError

_INTERVAL = re.compile(r"(?P<chromosome>[^\s:]+):(?P<start>[\d,]+)-(?P<end>[\d,]+)")
_VARIANT = re.compile(r"(?P<chromosome>[^\s:]+):(?P<position>[\d,]+):(?P<ref>[ACGTN]+)>(?P<alt>[ACGTN]+)")


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """A stretch of a chromosome, written ``chr1:100-200``.

    Attributes
    ----------
    chromosome
        Name as the assembly spells it.
    start
        0-based, inclusive.
    end
        0-based, exclusive; greater than `start`.

    Raises
    ------
    IntervalError
        If ``0 <= start < end`` does not hold.
    """

    chromosome: str
    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise IntervalError(f"{self}: 0 <= start < end must hold (0-based, half-open).")

    def __str__(self) -> str:
        return f"{self.chromosome}:{self.start}-{self.end}"

    def __len__(self) -> int:
        return self.end - self.start

    def __contains__(self, variant: Variant) -> bool:
        return (
            variant.chromosome == self.chromosome
            and self.start <= variant.start
            and variant.start + len(variant.ref) <= self.end
        )

    @classmethod
    def from_str(cls, text: str) -> Interval:
        """Read ``chromosome:start-end`` (0-based, half-open); thousands commas are allowed.

        Raises
        ------
        IntervalError
            If the text is not of that form.
        """
        match = _INTERVAL.fullmatch(text.strip())
        if match is None:
            raise IntervalError(f"{text!r} is not an interval; write chr1:100-200 (0-based, half-open).")
        return cls(match["chromosome"], _number(match["start"]), _number(match["end"]))


@dataclass(frozen=True, slots=True, order=True)
class Variant:
    """A change of one chromosome's letters, written ``chr1:100:A>G``.

    Attributes
    ----------
    chromosome
        Name as the assembly spells it.
    position
        1-based position of the first reference letter.
    ref, alt
        Letters before and after, upper case ACGTN, not empty and not equal.

    Raises
    ------
    VariantError
        If an allele is not of that form, or the position is below 1.
    """

    chromosome: str
    position: int
    ref: str
    alt: str

    def __post_init__(self) -> None:
        if self.position < 1:
            raise VariantError(f"{self}: positions of variants are 1-based.")
        if not re.fullmatch("[ACGTN]+", self.ref) or not re.fullmatch("[ACGTN]+", self.alt):
            raise VariantError(f"{self}: alleles are one or more of A, C, G, T, N in upper case.")
        if self.ref == self.alt:
            raise VariantError(f"{self}: the two alleles are the same.")

    def __str__(self) -> str:
        return f"{self.chromosome}:{self.position}:{self.ref}>{self.alt}"

    @property
    def start(self) -> int:
        """0-based position of the first reference letter."""
        return self.position - 1

    @property
    def is_snv(self) -> bool:
        """Whether one letter is replaced by one other."""
        return len(self.ref) == len(self.alt) == 1

    @classmethod
    def from_str(cls, text: str) -> Variant:
        """Read ``chromosome:position:ref>alt`` (1-based).

        Raises
        ------
        VariantError
            If the text is not of that form.
        """
        match = _VARIANT.fullmatch(text.strip())
        if match is None:
            raise VariantError(f"{text!r} is not a variant; write chr1:100:A>G (1-based).")
        return cls(match["chromosome"], _number(match["position"]), match["ref"], match["alt"])


def _number(text: str) -> int:
    return int(text.replace(",", ""))
