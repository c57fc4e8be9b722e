"""k-mer frequencies, k = 1 to 6: what composition alone can tell."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from glmstore.errors import LayerError
from glmstore.models.base import Batch, ModelEntry
from glmstore.models.encoding import LETTERS, encode_characters, letter_table
from glmstore.models.layered import Layered
from glmstore.models.provenance import provenance_of
from glmstore.models.spec import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor

    from glmstore.views import Pooling, Provenance

_PAD_ID = 5
_TABLE = letter_table(range(len(LETTERS)))


class Kmer(Layered):
    """Overlapping k-mers in lexicographic order (AA, AC, …, TT).

    A window that holds an N counts for nothing; a sequence without a whole window is a vector of zeros.
    """

    def __init__(self, spec: ModelSpec, k: int) -> None:
        self.spec, self.k = spec, k

    def encode(self, sequences: Sequence[str]) -> Batch:
        """Tokenise normalised sequences, one token a nucleotide; EmptySequenceError for an empty one."""
        return encode_characters(sequences, _TABLE, _PAD_ID, self.spec)

    def codes(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the base-4 code, int64 [B, T], of the k-mer starting at each token, and where one does."""
        from torch.nn.functional import pad

        width = batch.ids.shape[1]
        ids = pad(batch.ids, (0, self.k - 1), value=_PAD_ID)
        code, whole = ids.new_zeros(batch.ids.shape), ids.new_ones(batch.ids.shape).bool()
        for offset in range(self.k):
            at = ids[:, offset : offset + width]
            code = code * 4 + at.clamp(max=3)
            whole &= at < 4
        return code, whole

    def layers(self, batch: Batch) -> Iterator[Tensor]:
        """Yield float32 [B, T, 4**k], one-hot of the k-mer starting at each token; zeros where none does."""
        import torch

        code, whole = self.codes(batch)
        yield torch.nn.functional.one_hot(code, self.spec.dim).float() * whole.unsqueeze(-1)

    def pooled(self, batch: Batch, layer: int, pooling: Pooling) -> Tensor | None:
        """Return float32 [B, 4**k], the share of each k-mer among the windows without N.

        Raises
        ------
        LayerError
            For any layer but 0.
        """
        if layer != 0:
            raise LayerError(f"{self.spec.name} has layer 0 only; {layer} was asked for.")
        if pooling != "mean":
            return None
        code, whole = self.codes(batch)
        rows, size = len(code), self.spec.dim
        counts = code.new_zeros(rows, size).float().scatter_add_(1, code, whole.float())
        return counts / whole.sum(dim=1, keepdim=True).clamp(min=1)

    def provenance(self, precision: str) -> Provenance:
        """Return what is written beside every view of this model."""
        return provenance_of(self.spec, precision)


def _entry(k: int) -> ModelEntry:
    spec = ModelSpec(
        name=f"kmer{k}",
        family="k-mer",
        summary=f"Frequencies of the {4**k} overlapping {k}-mers.",
        revision=f"kmer{k}-1",
        tokenizer_sha256=hashlib.sha256(LETTERS.encode()).hexdigest(),
        objective="none",
        tokenization="character",
        max_nt=None,
        dim=4**k,
        n_layers=0,
        default_layer=0,
        poolings=("mean",),
        n_parameters=0,
        control="sequence",
        licence="Apache-2.0",
        citation="none",
    )
    return ModelEntry(spec, partial(_load, spec, k))


def _load(spec: ModelSpec, k: int, _device: str) -> Kmer:
    return Kmer(spec, k)


KMERS = tuple(_entry(k) for k in range(1, 7))
