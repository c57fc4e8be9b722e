"""6-mers without overlap, as the Nucleotide Transformers read DNA.

Letters are grouped from left to right into 6-mers. N is a token of its own and the grouping starts anew
after it; fewer than six letters before an N, or at the end, are tokens of one letter each. ``<cls>`` comes
first and nothing comes last. Facts: instadeepai/nucleotide-transformer,
``nucleotide_transformer/tokenizers.py`` at 393d793 and 50044a8, and the ``vocab.txt`` of the hub
repositories.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import product

import numpy as np

from glmstore.models.base import Batch
from glmstore.models.encoding import letter_table
from glmstore.models.tokenizers.base import check_tokens

K = 6
BASES = "ATCG"
"""The published order, which is not the alphabet's."""

_LEADING = ("<unk>", "<pad>", "<mask>", "<cls>")
_UNUSED = ("<eos>", "<bos>")
_LETTERS = (*("".join(letters) for letters in product(BASES, repeat=K)), *BASES, "N")

V1_VOCABULARY = (*_LEADING, *_LETTERS, *_UNUSED)
"""Tokens of the first generation; its embedding has no rows for the last two, so it counts 4,105 ids."""
V2_VOCABULARY = (*_LEADING, *_UNUSED, *_LETTERS)
"""Tokens of the second generation: the same 4,107, with every 6-mer two ids later."""


def vocabulary_sha256(vocabulary: Sequence[str]) -> str:
    """Return the sha256 of a vocabulary, one token a line, as ``vocab.txt`` is published."""
    return hashlib.sha256("\n".join(vocabulary).encode()).hexdigest()


def safe_length(max_tokens: int) -> int:
    """Return the length in nucleotides up to which every sequence without N fits a context.

    A length L takes L // 6 + L % 6 tokens and one for ``<cls>``, so the longest sequence that fits is a
    multiple of six (5,994 nt in 1,000 tokens), while some shorter ones do not: this is the last length
    before the first that fails (5,974 nt). Sequences with N take more; :meth:`SixMerTokenizer.encode`
    counts and refuses those that do not fit.

    Parameters
    ----------
    max_tokens
        Context in tokens, ``<cls>`` included.
    """
    room = max_tokens - 1
    # K * (room - K + 2) + K - 1 is the first length with one letter too many left over.
    return max(room, K * (room - K + 2) + K - 2)


class SixMerTokenizer:
    """Groups letters into 6-mers, starting anew after every N.

    Parameters
    ----------
    vocabulary
        Tokens by id: `V1_VOCABULARY` or `V2_VOCABULARY`.
    n_ids
        Rows of the embedding; later tokens of the vocabulary are never made. All of them when None.
    max_tokens
        Longest sequence in tokens, ``<cls>`` included; None for no limit.

    Attributes
    ----------
    strings, sha256, mask_id
        See :class:`glmstore.models.tokenizers.base.Tokenizer`.
    """

    def __init__(
        self, vocabulary: Sequence[str], *, n_ids: int | None = None, max_tokens: int | None = None
    ) -> None:
        ids = {token: i for i, token in enumerate(vocabulary)}
        self.strings = tuple("" if token.startswith("<") else token for token in vocabulary[:n_ids])
        self.sha256 = vocabulary_sha256(vocabulary)
        self.mask_id: int | None = ids["<mask>"]
        self.max_tokens = max_tokens
        self._pad_id, self._cls_id, self._first = ids["<pad>"], ids["<cls>"], ids[BASES[0] * K]
        self._single = letter_table([BASES.find(letter) for letter in "ACGT"] + [len(BASES)])
        self._single_ids = np.array([ids[letter] for letter in (*BASES, "N")], dtype=np.int64)

    def encode(self, sequences: Sequence[str]) -> Batch:
        """Return a batch, padded on the right, whose spans tile every sequence.

        Parameters
        ----------
        sequences
            Normalised, none of them empty.

        Raises
        ------
        SequenceTooLongError
            If a sequence takes more than `max_tokens` tokens; names it by its place.
        """
        import torch

        lengths = np.array([len(s) for s in sequences], dtype=np.int64)
        ids, starts, widths = self._cut("".join(sequences), lengths)
        ends = np.cumsum(lengths)
        rows = np.searchsorted(ends, starts, side="right")
        counts = np.bincount(rows, minlength=len(lengths))
        check_tokens((counts + 1).tolist(), self.max_tokens)
        # A token's column: its place among the tokens of its own row, after <cls>.
        columns = np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows] + 1
        shape = (len(lengths), 1 + int(counts.max(initial=0)))
        padded = np.full(shape, self._pad_id, dtype=np.int64)
        padded[:, 0], padded[rows, columns] = self._cls_id, ids
        spans = np.zeros((*shape, 2), dtype=np.int32)
        local = starts - (ends - lengths)[rows]
        spans[rows, columns] = np.stack([local, local + widths], axis=-1)
        real = np.zeros(shape, dtype=bool)
        real[rows, columns] = True
        attention = real.copy()
        attention[:, 0] = True
        return Batch(*map(torch.from_numpy, (padded, attention, ~real, spans, lengths)))

    def count(self, sequences: Sequence[str]) -> np.ndarray:
        """Return int64 [n], the tokens of each sequence, ``<cls>`` included; both strands take as many."""
        return np.array([1 + _n_tokens(s) for s in sequences], dtype=np.int64)

    def _cut(self, letters: str, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return ids, starts and widths of the tokens of sequences that lie one behind the other."""
        codes = self._single[np.frombuffer(letters.encode("ascii"), dtype=np.uint8)].astype(np.int64)
        is_n = codes == len(BASES)
        begins = is_n.copy()
        begins[1:] |= is_n[:-1]
        begins[np.cumsum(lengths) - lengths] = True
        run_starts = np.flatnonzero(begins)
        run_lengths = np.diff(run_starts, append=len(codes))
        run = np.cumsum(begins) - 1
        within = np.arange(len(codes)) - run_starts[run]
        grouped = within < (run_lengths // K * K)[run]
        starts = np.flatnonzero(~grouped | (within % K == 0))
        is_word = grouped[starts]
        ids = self._single_ids[codes[starts]]
        words = codes[starts[is_word, None] + np.arange(K)]
        ids[is_word] = self._first + words @ len(BASES) ** np.arange(K - 1, -1, -1)
        return ids, starts, np.where(is_word, K, 1)


def _n_tokens(sequence: str) -> int:
    """Return the tokens of a sequence: of every six letters in a run without N, five are saved."""
    if "N" not in sequence:
        return len(sequence) - (K - 1) * (len(sequence) // K)
    n_at = np.flatnonzero(np.frombuffer(sequence.encode("ascii"), dtype=np.uint8) == ord("N"))
    runs = np.diff(n_at, prepend=-1, append=len(sequence)) - 1
    return len(sequence) - (K - 1) * int((runs // K).sum())
