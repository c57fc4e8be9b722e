"""Edits of one sequence at a 0-based start."""

from __future__ import annotations

from glmstore.errors import VariantError


def substitute(sequence: str, start: int, patch: str, *, ref: str | None = None) -> str:
    """Overwrite ``len(patch)`` letters; the length stays.

    Parameters
    ----------
    sequence
        Normalised sequence.
    start
        0-based position of the first letter overwritten.
    patch
        What is written.
    ref
        What is expected there now; not checked when None. May differ from `patch` in content, not in length.

    Raises
    ------
    VariantError
        If the patch does not lie inside the sequence, or the sequence does not read `ref` there.
    """
    end = start + len(patch)
    if start < 0 or end > len(sequence):
        raise VariantError(
            f"a patch of {len(patch)} nt at {start} (0-based) does not lie inside a sequence of "
            f"{len(sequence)} nt."
        )
    if ref is not None and sequence[start:end] != ref:
        raise VariantError(
            f"the sequence reads {sequence[start:end]!r} at {start} (0-based), not the reference {ref!r}. "
            "Check the coordinate base, the strand and the assembly."
        )
    return sequence[:start] + patch + sequence[end:]


def insert_at(sequence: str, start: int, patch: str) -> str:
    """Insert `patch` before the letter at 0-based `start`; the sequence grows by ``len(patch)``.

    Raises
    ------
    VariantError
        If `start` lies outside 0 .. len(sequence).
    """
    if not 0 <= start <= len(sequence):
        raise VariantError(f"cannot insert at {start} (0-based) into a sequence of {len(sequence)} nt.")
    return sequence[:start] + patch + sequence[start:]
