"""Between letters and one-hot arrays, and the reverse complement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from glmstore.errors import AlphabetError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BASES = "ACGT"
"""Channel order of every one-hot array."""
N_CODE = 4

_COMPLEMENT = str.maketrans("ACGTN", "TGCAN")
_OUTSIDE = 255
_CODE = np.full(256, _OUTSIDE, np.uint8)
_CODE[np.frombuffer(b"ACGTN", np.uint8)] = np.arange(5)
_ROWS = np.zeros((5, 4), np.uint8)
_ROWS[:4] = np.eye(4, dtype=np.uint8)
# One 4-byte word a letter: gathering words is several times faster than gathering rows of four bytes.
_WORDS = _ROWS.view(np.uint32).ravel()


def encode(sequence: str) -> NDArray[np.uint8]:
    """Return the letters as codes.

    Parameters
    ----------
    sequence
        Normalised (upper case ACGTN).

    Returns
    -------
    uint8 [L]; A, C, G, T, N are 0, 1, 2, 3, 4.

    Raises
    ------
    AlphabetError
        If another letter occurs; names its 0-based position.
    """
    codes: NDArray[np.uint8] = _CODE[np.frombuffer(sequence.encode("ascii", "replace"), np.uint8)]
    bad = np.flatnonzero(codes == _OUTSIDE)
    if bad.size:
        at = int(bad[0])
        raise AlphabetError(
            f"sequence {sequence[:20]!r}…",
            f"letter {sequence[at]!r} at position {at} (0-based)",
            "Normalise sequences first (glmstore.sequences.normalise)",
        )
    return codes


def one_hot(sequences: Sequence[str]) -> NDArray[np.uint8]:
    """One-hot encode normalised sequences of equal length.

    Parameters
    ----------
    sequences
        N normalised sequences (upper case ACGTN), all of length L.

    Returns
    -------
    uint8 [N, L, 4] in the order A, C, G, T; N is four zeros. No sequences give [0, 0, 4].

    Raises
    ------
    ShapeError
        If lengths differ; names the first that does.
    AlphabetError
        If a letter outside ACGTN occurs.
    """
    length = len(sequences[0]) if len(sequences) else 0
    for index, sequence in enumerate(sequences):
        if len(sequence) != length:
            raise ShapeError(
                f"sequence {index} has {len(sequence)} nt and sequence 0 has {length}: one-hot arrays need "
                "equal lengths. Group the sequences by length first."
            )
    codes = encode("".join(sequences))
    return _WORDS[codes].view(np.uint8).reshape(len(sequences), length, 4)


def reverse_complement(sequence: str) -> str:
    """Return the other strand of a normalised sequence, 5' to 3'; N stays N."""
    return sequence.translate(_COMPLEMENT)[::-1]
