"""How many tokens a model makes of sequences, counted with its own tokenizer where that is here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from glmstore.errors import WeightsError
from glmstore.estimating.architecture import architecture_of

if TYPE_CHECKING:
    from glmstore.estimating.quantity import Basis
    from glmstore.estimating.workload import Workload
    from glmstore.models.base import ModelEntry
    from glmstore.models.tokenizers.base import Tokenizer
    from glmstore.views import Pooling

COUNTED = 20_000
"""Sequences tokenized at most; the rest are taken to be like them."""
_CHUNK = 256


class Tokens(NamedTuple):
    """Tokens that stand for nucleotides, over a workload; special tokens are never stored.

    Attributes
    ----------
    total
        Their number.
    basis
        "exact", "estimate" (from a sample) or "at most".
    how
        In words.
    """

    total: int
    basis: Basis
    how: str


def count_tokens(entry: ModelEntry, workload: Workload, pooling: Pooling = "tokens") -> Tokens:
    """Count the vectors that a token-level view keeps.

    Parameters
    ----------
    entry
        The model; its weights need not be here.
    workload
        The sequences.
    pooling
        "tokens", or "nucleotides", which keeps one vector for each letter.
    """
    if pooling == "nucleotides":
        return Tokens(workload.nt, "exact", "one vector a nucleotide")
    if entry.spec.tokenization == "character":
        return Tokens(workload.nt, "exact", "one token a nucleotide")
    architecture = architecture_of(entry)
    try:
        tokenizer = architecture.tokenizer() if architecture is not None else None
    except WeightsError:
        tokenizer = None
    if tokenizer is None:
        return Tokens(workload.nt, "at most", "one token a nucleotide at most: the vocabulary is not here")
    if "mer" in entry.spec.tokenization:
        return Tokens(round(_by_length(tokenizer, workload.sequences) * workload.scale), "exact", "tokenized")
    sample = workload.sample(COUNTED)
    total = round(_count(tokenizer, sample) * workload.n / len(sample))
    if len(sample) == workload.n:
        return Tokens(total, "exact", "tokenized")
    return Tokens(total, "estimate", f"from {len(sample):,} sequences tokenized")


def _by_length(tokenizer: Tokenizer, sequences: Sequence[str]) -> int:
    """Count k-mers: without N, sequences of one length have one count, so each length is tokenized once."""
    with_n = [s for s in sequences if "N" in s]
    lengths = Counter(len(s) for s in sequences if "N" not in s)
    plain = sum(n * _count(tokenizer, ["A" * length]) for length, n in lengths.items())
    return plain + _count(tokenizer, with_n)


def _count(tokenizer: Tokenizer, sequences: Sequence[str]) -> int:
    chunks = (sequences[i : i + _CHUNK] for i in range(0, len(sequences), _CHUNK))
    return sum(int((~tokenizer.encode(chunk).special_mask).sum()) for chunk in chunks)
