"""A genome read by interval from an indexed FASTA file."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from pyfaidx import Fasta, FastaIndexingError

from glmstore.errors import IntervalError, TableError, UnknownNameError, VariantError
from glmstore.sequences.coordinates import Interval, Variant
from glmstore.sequences.edit import substitute
from glmstore.sequences.normalise import normalise

__all__ = ["Genome", "Interval", "Variant"]


class Genome:
    """Sequences by interval: ``Genome("hg38.fa")[Interval("chr1", 99, 200)]``.

    The FASTA file may be plain or bgzip-compressed; its ``.fai`` index is read, or built beside it
    on first use.

    Parameters
    ----------
    path
        FASTA file.

    Raises
    ------
    TableError
        If the file is not there, cannot be indexed (lines of unequal length, a folder that cannot be
        written), or names a chromosome twice.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise TableError(f"{path}: there is no such FASTA file.")
        try:
            self._fasta = Fasta(str(self.path), as_raw=True, sequence_always_upper=True)
        except (FastaIndexingError, ValueError, OSError) as error:
            raise TableError(f"{path} cannot be indexed as FASTA: {error}") from error

    @property
    def chromosomes(self) -> dict[str, int]:
        """Chromosome names, in file order, and their lengths in nucleotides."""
        return {name: len(record) for name, record in self._fasta.items()}

    def __getitem__(self, interval: Interval) -> str:
        """Return the normalised forward-strand sequence of an interval; ambiguous letters read as N.

        Raises
        ------
        UnknownNameError
            If the chromosome is not in the file.
        IntervalError
            If the interval reaches past the end of the chromosome.
        """
        if interval.chromosome not in self._fasta:
            raise UnknownNameError("chromosome", interval.chromosome, self._fasta.keys())
        record = self._fasta[interval.chromosome]
        if interval.end > len(record):
            raise IntervalError(
                f"{interval} reaches past the end of {interval.chromosome} ({len(record)} nt)."
            )
        return normalise(str(record[interval.start : interval.end]), str(interval), ambiguous="N")

    def alleles(self, variant: Variant, interval: Interval) -> tuple[str, str]:
        """Return the interval's sequence with the reference and with the alternative allele.

        Raises
        ------
        VariantError
            If the alleles differ in length, the variant does not lie in the interval, or the genome does
            not read its reference allele.
        """
        reference = self[interval]
        if variant not in interval or len(variant.ref) != len(variant.alt):
            raise VariantError(f"{variant} is not a substitution inside {interval} (0-based, half-open).")
        at = variant.start - interval.start
        return reference, substitute(reference, at, variant.alt, ref=variant.ref)

    def close(self) -> None:
        """Close the file."""
        self._fasta.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
