"""GENERator's tokenizer: 6-mers side by side from the left, the vocabulary in code.

Facts of GenerTeam's ``tokenizer.py`` (class DNAKmerTokenizer) and ``vocab.txt`` beside the published weights:
32 special tokens, then all 6-mers over A, T, C, G in this order. A 6-mer that holds an N, and the last one to
five letters of a sequence whose length is no multiple of six, are one ``<oov>`` token each: they have a span,
so that tokens tile the sequence, but the network cannot tell one from another. Its authors therefore cut
sequences from the left to a multiple of six before they generate or score; embedding needs no cut.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import product

import numpy as np

from glmstore.models.base import Batch

K = 6
LETTERS = "ATCG"
SPECIALS = (
    *("<oov>", "<s>", "</s>", "<pad>", "<mask>", "<bog>", "<eog>", "<bok>", "<eok>", "<+>", "<->", "<cds>"),
    *("<pseudo>", "<tRNA>", "<rRNA>", "<ncRNA>", "<miscRNA>", "<mam>", "<vrt>", "<inv>", "<pln>", "<fng>"),
    *("<prt>", "<arc>", "<bct>", "<mit>", "<plt>", "<plm>", "<vir>", "<sp0>", "<sp1>", "<sp2>"),
)
OOV_ID, BOS_ID, PAD_ID = 0, 1, 3
_WEIGHTS = len(LETTERS) ** np.arange(K - 1, -1, -1)
_NO_LETTER = -(len(LETTERS) ** K)
"""Stands for N: one of them makes the sum over any 6-mer negative."""


def _words() -> list[str]:
    return ["".join(letters) for letters in product(LETTERS, repeat=K)]


def vocabulary_sha256() -> str:
    """Return the sha256 of the 4,128 tokens, one a line."""
    return hashlib.sha256("\n".join([*SPECIALS, *_words()]).encode()).hexdigest()


def _digits() -> np.ndarray:
    table = np.full(256, _NO_LETTER, dtype=np.int64)
    table[np.frombuffer(LETTERS.encode(), dtype=np.uint8)] = range(len(LETTERS))
    return table


class GeneratorTokenizer:
    """6-mers from the left behind a ``<s>``, as the published model was trained."""

    def __init__(self) -> None:
        self.strings = (*("" for _ in SPECIALS), *_words())
        self.sha256 = vocabulary_sha256()
        self.mask_id = None
        self._table = _digits()

    def encode(self, sequences: Sequence[str]) -> Batch:
        """Return a batch, padded on the right: ``<s>``, the 6-mers, and an ``<oov>`` for a shorter rest."""
        import torch

        lengths = np.array([len(s) for s in sequences], dtype=np.int64)
        counts = -(-lengths // K)
        place = np.arange(1 + int(counts.max(initial=0)))
        keep = place <= counts[:, None]
        real = keep & (place > 0)
        ids = np.where(keep, BOS_ID, PAD_ID)
        ids[real] = np.concatenate([self._ids(s) for s in sequences])
        start = np.where(real, (place - 1) * K, 0)
        end = np.where(real, np.minimum(start + K, lengths[:, None]), 0)
        return Batch(
            torch.from_numpy(ids),
            torch.from_numpy(keep),
            torch.from_numpy(~real),
            torch.from_numpy(np.stack([start, end], axis=-1).astype(np.int32)),
            torch.from_numpy(lengths),
        )

    def _ids(self, sequence: str) -> np.ndarray:
        digits = self._table[np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)]
        whole = len(sequence) // K
        codes = digits[: whole * K].reshape(whole, K) @ _WEIGHTS
        ids = np.where(codes < 0, OOV_ID, codes + len(SPECIALS))
        return ids if whole * K == len(sequence) else np.append(ids, OOV_ID)
