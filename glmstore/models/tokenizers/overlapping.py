"""k-mers at every nucleotide, as DNABERT reads DNA.

Ji et al. 2021, Bioinformatics 37(15): 2112-2120. Facts: jerryji1993/DNABERT at c9b6ccb,
``src/transformers/dnabert-config/bert-config-{k}/vocab.txt``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import product

import numpy as np

from glmstore.models.base import Batch
from glmstore.models.encoding import letter_table
from glmstore.models.tokenizers.base import check_tokens
from glmstore.models.tokenizers.ragged import pad_tokens

BASES = "ATCG"
"""The published order, which is not the alphabet's."""
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_PAD, _UNK, _CLS, _SEP, _MASK = range(len(SPECIALS))
_NO_BASE = 4


def vocabulary(k: int) -> tuple[str, ...]:
    """Return the published vocabulary: specials, then all k-mers, the last letter changing first."""
    return (*SPECIALS, *("".join(letters) for letters in product(BASES, repeat=k)))


def vocabulary_sha256(k: int) -> str:
    """Return the sha256 of the vocabulary, one token a line, without a last newline."""
    return hashlib.sha256("\n".join(vocabulary(k)).encode()).hexdigest()


class OverlappingTokenizer:
    """One token at each nucleotide but the last k - 1, between ``[CLS]`` and ``[SEP]``.

    Tokens overlap and spans may not, so each nucleotide is counted to the k-mer whose centre is nearest, the
    later one of two for even k; the flanks go to the first and the last token. A k-mer that holds an N is
    ``[UNK]``, as upstream. A sequence of fewer than k letters is one ``[UNK]``.

    Parameters
    ----------
    k
        Letters of a token.
    max_tokens
        Longest sequence in tokens, specials included; None for no limit.

    Attributes
    ----------
    strings, sha256, mask_id
        See :class:`glmstore.models.tokenizers.base.Tokenizer`; a token's letters are k, its span is mostly 1.
    """

    def __init__(self, k: int, *, max_tokens: int | None = None) -> None:
        self.k, self.max_tokens = k, max_tokens
        self.strings: Sequence[str] = ("",) * len(SPECIALS) + vocabulary(k)[len(SPECIALS) :]
        self.sha256 = vocabulary_sha256(k)
        self.mask_id: int | None = _MASK
        self._codes = letter_table([*(BASES.index(base) for base in "ACGT"), _NO_BASE])
        self._powers = len(BASES) ** np.arange(k - 1, -1, -1)

    def encode(self, sequences: Sequence[str]) -> Batch:
        """Return a batch, padded on the right, whose spans tile every sequence.

        Parameters
        ----------
        sequences
            Over ``ACGTN``, none of them empty.

        Raises
        ------
        SequenceTooLongError
            If a sequence takes more than `max_tokens` tokens; names it by its place.
        """
        ids = [self._ids(sequence) for sequence in sequences]
        check_tokens([len(row) + 2 for row in ids], self.max_tokens)
        ends = [self._ends(len(row), len(s)) for row, s in zip(ids, sequences, strict=True)]
        return pad_tokens(ids, ends, cls_id=_CLS, sep_id=_SEP, pad_id=_PAD)

    def _ids(self, sequence: str) -> np.ndarray:
        if len(sequence) < self.k:
            return np.array([_UNK])
        letters = self._codes[np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)].astype(np.int64)
        words = np.lib.stride_tricks.sliding_window_view(letters, self.k)
        return np.where((words == _NO_BASE).any(axis=1), _UNK, len(SPECIALS) + words @ self._powers)

    def _ends(self, n_tokens: int, length: int) -> np.ndarray:
        ends = np.arange(1, n_tokens + 1) + (self.k - 1) // 2
        ends[-1] = length
        return ends
