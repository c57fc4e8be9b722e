"""What a tokenizer does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from glmstore.models.base import Batch


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
