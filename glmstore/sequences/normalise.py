"""From what users write to the one form that is stored, keyed and embedded."""

from __future__ import annotations

import logging
import re
from hashlib import blake2b
from typing import TYPE_CHECKING

from glmstore.errors import AlphabetError, EmptySequenceError
from glmstore.sequences.lookalikes import cure_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ALPHABET = "ACGTN"
_OUTSIDE = re.compile(f"[^{ALPHABET}]")
_IUPAC = "RYSWKMBDHV"
_AMBIGUOUS_TO_N = str.maketrans(_IUPAC, "N" * len(_IUPAC))
KEY_BYTES = 16

log = logging.getLogger(__name__)


def normalise(sequence: str, record: str = "sequence", *, ambiguous: str = "refuse") -> str:
    """Return the sequence in upper case over ``ACGTN``, with ``U`` read as ``T``.

    Parameters
    ----------
    sequence
        Nucleotides in either case; surrounding white space is dropped.
    record
        What to call this sequence in an error ("row 17", a FASTA name).
    ambiguous
        ``"refuse"`` (default) raises on IUPAC codes other than N; ``"N"`` replaces each by N.

    Raises
    ------
    EmptySequenceError
        If nothing is left.
    AlphabetError
        If a letter outside ACGTUN (or outside IUPAC, when mapped) remains; names its 0-based position.
    """
    clean = sequence.strip().upper().replace("U", "T")
    if ambiguous == "N":
        clean = clean.translate(_AMBIGUOUS_TO_N)
    if not clean:
        raise EmptySequenceError(record, "the sequence is empty", "Remove the record or supply its sequence")
    outside = _OUTSIDE.search(clean)
    if outside:
        letter = outside.group()
        cure = cure_for(sequence)
        if cure is None and letter in _IUPAC:
            cure = (
                "Replace it by N yourself, or pass ambiguous='N' (--ambiguous N) to have every such letter "
                "read as N"
            )
        elif cure is None:
            cure = "Only A, C, G, T, U and N are nucleotides here"
        raise AlphabetError(record, f"letter {letter!r} at position {outside.start()} (0-based)", cure)
    return clean


def normalise_all(
    sequences: Sequence[str], records: Sequence[str] | None = None, *, ambiguous: str = "refuse"
) -> list[str]:
    """Normalise many sequences, saying once, in the log, what had to be changed.

    Parameters
    ----------
    sequences
        As users wrote them.
    records
        Their names for error messages; ``row 0``, ``row 1``, … when not given.

    Raises
    ------
    EmptySequenceError, AlphabetError
        For the first record that cannot be used.
    """
    named = records if records is not None else [f"row {i}" for i in range(len(sequences))]
    clean = [normalise(s, r, ambiguous=ambiguous) for s, r in zip(sequences, named, strict=True)]
    lower = sum(s.strip() != s.strip().upper() for s in sequences)
    uracil = sum("U" in s.upper() for s in sequences)
    if lower or uracil:
        changed = {"with lower case": lower, "with U (read as T)": uracil}
        counts = [f"{count} {what}" for what, count in changed.items() if count]
        log.warning("normalised sequences: %s", ", ".join(counts))
    unknown = [record for s, record in zip(clean, named, strict=True) if not s.strip("N")]
    if unknown:
        log.warning("sequences of nothing but N: %d, the first %s", len(unknown), unknown[0])
    return clean


def require_normalised(sequences: Sequence[str], records: Sequence[str] | None = None) -> None:
    """Refuse sequences that :func:`normalise` did not give: tokenisers would read other letters for theirs.

    Parameters
    ----------
    sequences
        To be stored or embedded.
    records
        Their names for error messages; ``sequence 0 (0-based)``, … when not given.

    Raises
    ------
    EmptySequenceError, AlphabetError
        For the first such sequence.
    """
    for i, sequence in enumerate(sequences):
        rest = sequence.lstrip(ALPHABET)
        if sequence and not rest:
            continue
        record = records[i] if records is not None else f"sequence {i} (0-based)"
        if not sequence:
            raise EmptySequenceError(record, "the sequence is empty", "Leave it out")
        raise AlphabetError(
            record,
            f"letter {rest[0]!r} at position {len(sequence) - len(rest)} (0-based) is none of {ALPHABET}",
            "Pass it through glmstore.sequences.normalise.normalise first",
        )


def seq_key(normalised: str) -> str:
    """Return the content key: 32 hex digits, blake2b-128 of the normalised sequence."""
    return blake2b(normalised.encode("ascii"), digest_size=KEY_BYTES).hexdigest()


def seq_keys(normalised: Iterable[str]) -> list[str]:
    """Return the content keys of many normalised sequences, in order."""
    return [seq_key(s) for s in normalised]
