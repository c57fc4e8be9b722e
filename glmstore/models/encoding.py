"""What fits into a model's context, and one token a nucleotide: from sequences to padded batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from glmstore.errors import EmptySequenceError, SequenceTooLongError
from glmstore.models.base import Batch

if TYPE_CHECKING:
    from glmstore.models.spec import ModelSpec

LETTERS = "ACGTN"


@runtime_checkable
class TokenLimited(Protocol):
    """A model whose context is counted in tokens of several letters, so that letters decide what fits."""

    @property
    def max_tokens(self) -> int | None:
        """Longest input in tokens, specials included; None where `spec.max_nt` is all there is to heed."""

    def count_tokens(self, sequences: Sequence[str]) -> np.ndarray:
        """Return int64 [n], the tokens of each normalised sequence, specials included."""
        ...


def letter_table(ids: Sequence[int]) -> np.ndarray:
    """Return uint8 [256], from ASCII code to token id, for the ids of A, C, G, T and N in this order."""
    table = np.zeros(256, dtype=np.uint8)
    table[np.frombuffer(LETTERS.encode(), dtype=np.uint8)] = ids
    return table


def check_lengths(
    spec: ModelSpec, lengths: Sequence[int], records: Sequence[str] | None = None, *, windowed: bool = False
) -> None:
    """Refuse sequences that are empty or, unless they are read through windows, longer than the model takes.

    Raises
    ------
    EmptySequenceError, SequenceTooLongError
        For the first such sequence; names its record.
    """
    for i, length in enumerate(lengths):
        if length == 0:
            raise EmptySequenceError(
                _record(records, i), "the sequence is empty", "Remove it or supply its sequence"
            )
        if not windowed and spec.max_nt is not None and length > spec.max_nt:
            raise SequenceTooLongError(
                _record(records, i),
                f"{length} nt, and {spec.name} takes {spec.max_nt}",
                "Choose pooling windowed-mean, which reads it window by window, or a model with a longer "
                "context (`glmstore models list`)",
            )


def check_counts(
    spec: ModelSpec, counts: Mapping[int, int], max_tokens: int | None, records: Sequence[str] | None = None
) -> None:
    """Refuse sequences that take more tokens than the context of a model holds.

    Parameters
    ----------
    spec
        The model.
    counts
        Place -> tokens, of those that are too many.
    max_tokens
        The context.
    records
        What to call each sequence; None: by its place.

    Raises
    ------
    SequenceTooLongError
        For the first of them; names its record.
    """
    for i in sorted(counts)[:1]:
        raise SequenceTooLongError(
            _record(records, i),
            f"{counts[i]} tokens, and {spec.name} takes {max_tokens}, whatever the length in nucleotides",
            "Choose pooling windowed-mean, which reads it window by window, leave out long stretches of N, "
            "or choose a model with a longer context (`glmstore models list`)",
        )


def _record(records: Sequence[str] | None, i: int) -> str:
    return records[i] if records is not None else f"sequence {i}"


def encode_characters(sequences: Sequence[str], table: np.ndarray, pad_id: int, spec: ModelSpec) -> Batch:
    """Tokenise normalised sequences as :func:`encode_letters` does, within the limits of a model.

    Raises
    ------
    EmptySequenceError, SequenceTooLongError
        Names the record by its place in `sequences`.
    """
    check_lengths(spec, [len(s) for s in sequences])
    return encode_letters(sequences, table, pad_id)


def encode_letters(sequences: Sequence[str], table: np.ndarray, pad_id: int) -> Batch:
    """Tokenise normalised sequences, one token a nucleotide, padded on the right.

    Parameters
    ----------
    sequences
        Over ``ACGTN``.
    table
        From :func:`letter_table`.
    pad_id
        Token id of padding.
    """
    import torch

    lengths = np.array([len(s) for s in sequences], dtype=np.int64)
    width = int(lengths.max(initial=0))
    keep = np.arange(width) < lengths[:, None]
    ids = np.full(keep.shape, pad_id, dtype=np.int64)
    ids[keep] = table[np.frombuffer("".join(sequences).encode("ascii"), dtype=np.uint8)]
    start = np.where(keep, np.arange(width, dtype=np.int32), 0)
    spans = np.stack([start, start + keep], axis=-1).astype(np.int32)
    mask = torch.from_numpy(keep)
    return Batch(torch.from_numpy(ids), mask, ~mask, torch.from_numpy(spans), torch.from_numpy(lengths))
