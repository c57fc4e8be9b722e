"""What a tokenizer does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from glmstore.errors import SequenceTooLongError
from glmstore.models.base import Batch

if TYPE_CHECKING:
    import numpy as np


class Tokenizer(Protocol):
    """Turns normalised sequences (over ``ACGTN``) into padded batches."""

    @property
    def sha256(self) -> str:
        """Digest of the vocabulary, or of the tokenizer's file."""

    @property
    def strings(self) -> Sequence[str]:
        """The letters each id stands for, by id; ``""`` for specials and unknowns.

        Its length is the number of ids, which the network's embedding has to cover.
        """

    @property
    def mask_id(self) -> int | None:
        """Id of the mask token; None where there is none."""

    def encode(self, sequences: Sequence[str]) -> Batch:
        """Return a batch, padded on the right, whose spans tile every sequence; sequences are not empty."""
        ...


@runtime_checkable
class CountingTokenizer(Tokenizer, Protocol):
    """A tokenizer that needs more tokens for some sequences than for others of the same length.

    Others, such as those of one token a letter, have no need of it: the length in nucleotides says all.
    """

    @property
    def max_tokens(self) -> int | None:
        """Longest sequence in tokens, specials included; None for no limit."""

    def count(self, sequences: Sequence[str]) -> np.ndarray:
        """Return int64 [n], the tokens of each sequence, specials included, at less cost than a batch.

        There are never more of them than letters, and at most two specials.
        """
        ...


def check_tokens(counts: Sequence[int], max_tokens: int | None) -> None:
    """Refuse sequences that take more tokens than a context holds, whatever their length in nucleotides.

    For tokens of several letters: their number depends on the letters, so a limit in nucleotides cannot tell.

    Parameters
    ----------
    counts
        Tokens of each sequence, specials included.
    max_tokens
        The context; None for no limit.

    Raises
    ------
    SequenceTooLongError
        For the first such sequence; names it by its place.
    """
    for i, count in enumerate(counts):
        if max_tokens is not None and count > max_tokens:
            raise SequenceTooLongError(
                f"sequence {i}",
                f"{count} tokens, and the context takes {max_tokens}",
                "Cut it into windows, leave out long stretches of N, or choose a model with a longer context "
                "(`glmstore models list`)",
            )
