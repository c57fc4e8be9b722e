"""Features that know nothing of biology: noise, and k-mers under a random projection.

``rand_vec`` gives every distinct sequence a vector of its own that says nothing about it: a head that
predicts from it has been shown the answer. ``rand_proj`` gives every 6-mer a random vector and averages them:
what a vector of that width can carry of composition alone, held against an embedding of the same width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from glmstore.errors import LayerError, UnknownNameError
from glmstore.models.base import Batch, DerivedModel, GenomicLM, ModelEntry
from glmstore.models.encoding import LETTERS, encode_characters, letter_table
from glmstore.models.kmer import Kmer
from glmstore.models.layered import Layered
from glmstore.models.provenance import provenance_of
from glmstore.models.seeded import split_seed
from glmstore.models.spec import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor

    from glmstore.views import Pooling, Provenance

LARGEST_DIM = 16_384
WORD = 6
_PAD_ID = 5
_TABLE = letter_table(range(len(LETTERS)))


class RandomVectors(Layered):
    """A standard normal vector for each distinct sequence, the same wherever and whenever it is asked for."""

    def __init__(self, spec: ModelSpec, seed: int) -> None:
        self.spec, self._seed = spec, seed

    def encode(self, sequences: Sequence[str]) -> Batch:
        """Tokenise normalised sequences, one token a nucleotide; EmptySequenceError for an empty one."""
        return encode_characters(sequences, _TABLE, _PAD_ID, self.spec)

    def layers(self, batch: Batch) -> Iterator[Tensor]:
        """Yield float32 [B, T, D], the only layer: the sequence's vector at each of its tokens."""
        vectors = self._vectors(batch).unsqueeze(1)
        yield vectors * batch.attention_mask.unsqueeze(-1)

    def pooled(self, batch: Batch, layer: int, pooling: Pooling) -> Tensor | None:
        """Return float32 [B, D].

        Raises
        ------
        LayerError
            For any layer but 0.
        """
        if layer != 0:
            raise LayerError(f"{self.spec.name} has layer 0 only; {layer} was asked for.")
        return self._vectors(batch) if pooling == "mean" else None

    def _vectors(self, batch: Batch) -> Tensor:
        import torch

        rows = [
            self._vector(ids[:length].astype(np.uint8).tobytes())
            for ids, length in zip(batch.ids.cpu().numpy(), batch.lengths.tolist(), strict=True)
        ]
        return torch.from_numpy(np.stack(rows)).to(batch.ids.device)

    def _vector(self, letters: bytes) -> np.ndarray:
        digest = hashlib.blake2b(letters, digest_size=16, salt=self._seed.to_bytes(16, "little")).digest()
        generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
        return generator.standard_normal(self.spec.dim, dtype=np.float32)

    def provenance(self, precision: str) -> Provenance:
        """Return what is written beside every view of this model."""
        return provenance_of(self.spec, precision)


class ProjectedKmers(Kmer):
    """6-mer frequencies times a fixed Gaussian matrix [4096, D] of variance 1/D."""

    def __init__(self, spec: ModelSpec, seed: int) -> None:
        import torch

        super().__init__(spec, WORD)
        drawn = np.random.default_rng(seed).standard_normal((4**WORD, spec.dim), dtype=np.float32)
        self._projection = torch.from_numpy(drawn / np.sqrt(spec.dim, dtype=np.float32))

    def layers(self, batch: Batch) -> Iterator[Tensor]:
        """Yield float32 [B, T, D], the vector of the 6-mer starting at each token; zeros where none does."""
        code, whole = self.codes(batch)
        yield self._projection.to(code.device)[code] * whole.unsqueeze(-1)

    def pooled(self, batch: Batch, layer: int, pooling: Pooling) -> Tensor | None:
        """Return float32 [B, D], the mean over the windows without N.

        Raises
        ------
        LayerError
            For any layer but 0.
        """
        if pooling != "mean":
            return None
        vectors = self.hidden_states(batch, layer)
        whole = self.codes(batch)[1].sum(dim=1, keepdim=True).clamp(min=1)
        return vectors.sum(dim=1) / whole


def _derived(prefix: str, make: Callable[[ModelSpec, int], GenomicLM], **facts: Any) -> DerivedModel:
    def build(argument: str) -> ModelEntry:
        dim_text, seed = split_seed(prefix, argument, "<dim>")
        dim = int(dim_text) if dim_text.isascii() and dim_text.isdigit() else 0
        if not 0 < dim <= LARGEST_DIM:
            hint = f"The width is a whole number from 1 to {LARGEST_DIM}."
            raise UnknownNameError("model", f"{prefix}:{argument}", [f"{prefix}:256:{seed}"], hint)
        spec = ModelSpec(
            name=f"{prefix}:{dim}:{seed}",
            family="random features",
            revision=f"{prefix}-1-{dim}-seed{seed}",
            tokenizer_sha256=hashlib.sha256(LETTERS.encode()).hexdigest(),
            objective="none",
            tokenization="character",
            max_nt=None,
            dim=dim,
            n_layers=0,
            default_layer=0,
            poolings=("mean",),
            n_parameters=0,
            licence="Apache-2.0",
            citation="none",
            **facts,
        )
        return ModelEntry(spec, partial(_load, make, spec, seed))

    return DerivedModel(prefix, f"{prefix}:<dim>:<seed>", build)


def _load(make: Callable[[ModelSpec, int], GenomicLM], spec: ModelSpec, seed: int, _device: str) -> GenomicLM:
    return make(spec, seed)


RANDOM_VECTORS = _derived(
    "rand_vec",
    RandomVectors,
    summary="A random vector for each distinct sequence; it says nothing about the sequence.",
    control="noise",
)
RANDOM_PROJECTIONS = _derived(
    "rand_proj",
    ProjectedKmers,
    summary=f"{WORD}-mer frequencies under a random projection.",
    control="sequence",
)
