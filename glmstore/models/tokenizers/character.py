"""One token a nucleotide, with the special tokens a model wants around them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from glmstore.models.base import Batch
from glmstore.models.encoding import encode_letters, letter_table


class CharacterTokenizer:
    """A vocabulary of single letters.

    Parameters
    ----------
    vocabulary
        Tokens by id, as published; letters in either case, everything longer than a letter a special.
    unknown_id
        What N becomes where the vocabulary holds no N.
    pad_id, mask_id
        Ids of padding and of the mask; None for `mask_id` where there is none.
    prefix, suffix
        Ids of the special tokens before and after every sequence.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        *,
        pad_id: int,
        unknown_id: int | None = None,
        mask_id: int | None = None,
        prefix: Sequence[int] = (),
        suffix: Sequence[int] = (),
    ) -> None:
        self.strings = tuple(t.upper() if len(t) == 1 and t.upper() in "ACGTN" else "" for t in vocabulary)
        self.sha256 = hashlib.sha256("\n".join(vocabulary).encode()).hexdigest()
        self.mask_id, self._pad_id = mask_id, pad_id
        self._prefix, self._suffix = tuple(prefix), tuple(suffix)
        n_id = _id_of("N", vocabulary) if "N" in self.strings else unknown_id
        if n_id is None:
            raise ValueError("a vocabulary without N needs an id for unknown letters")
        self._table = letter_table([*(_id_of(base, vocabulary) for base in "ACGT"), n_id])

    def encode(self, sequences: Sequence[str]) -> Batch:
        """Return a batch, padded on the right; specials have the empty span (0, 0)."""
        batch = encode_letters(sequences, self._table, self._pad_id)
        if not self._prefix and not self._suffix:
            return batch
        return _surround(batch, self._prefix, self._suffix, self._pad_id)


def _id_of(letter: str, vocabulary: Sequence[str]) -> int:
    """Return the id of a letter; of both cases the upper one, since sequences are normalised to it."""
    return vocabulary.index(letter if letter in vocabulary else letter.lower())


def _surround(batch: Batch, prefix: tuple[int, ...], suffix: tuple[int, ...], pad_id: int) -> Batch:
    """Put special tokens before each sequence and right after its last letter."""
    rows, width = batch.ids.shape
    before, after = len(prefix), len(suffix)

    def widen(tensor: Tensor, fill: int | bool) -> Tensor:
        wide = tensor.new_full((rows, before + width + after, *tensor.shape[2:]), fill)
        wide[:, before : before + width] = tensor
        return wide

    ids, mask = widen(batch.ids, pad_id), widen(batch.attention_mask, False)
    ids[:, :before], mask[:, :before] = torch.tensor(prefix, dtype=torch.int64), True
    at = before + batch.lengths.unsqueeze(1) + torch.arange(after)
    ids.scatter_(1, at, torch.tensor(suffix, dtype=torch.int64).expand(rows, after))
    mask.scatter_(1, at, torch.ones(rows, after, dtype=torch.bool))
    return Batch(ids, mask, widen(batch.special_mask, True), widen(batch.spans, 0), batch.lengths)
