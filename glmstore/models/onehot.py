"""One-hot nucleotides: the view every embedding has to beat under the same head."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from glmstore.models.base import Batch, ModelEntry
from glmstore.models.encoding import LETTERS, encode_characters, letter_table
from glmstore.models.layered import Layered
from glmstore.models.provenance import provenance_of
from glmstore.models.spec import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor

    from glmstore.views import Provenance

_PAD_ID = 5
_TABLE = letter_table(range(len(LETTERS)))


class OneHot(Layered):
    """A, C, G, T as unit vectors, N as zeros; layer 0 is all there is."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    def encode(self, sequences: Sequence[str]) -> Batch:
        """Tokenise normalised sequences; raises EmptySequenceError for an empty one."""
        return encode_characters(sequences, _TABLE, _PAD_ID, self.spec)

    def layers(self, batch: Batch) -> Iterator[Tensor]:
        """Yield float32 [B, T, 4], the only layer; N and padding are zeros."""
        import torch

        yield torch.nn.functional.one_hot(batch.ids, _PAD_ID + 1)[..., :4].float()

    def provenance(self, precision: str) -> Provenance:
        """Return what is written beside every view of this model."""
        return provenance_of(self.spec, precision)


ONEHOT_SPEC = ModelSpec(
    name="onehot",
    family="one-hot",
    summary="One-hot nucleotides, token level; N is all zeros.",
    revision="onehot-1",
    tokenizer_sha256=hashlib.sha256(LETTERS.encode()).hexdigest(),
    objective="none",
    tokenization="character",
    max_nt=None,
    dim=4,
    n_layers=0,
    default_layer=0,
    poolings=("tokens", "mean"),
    default_pooling="tokens",
    n_parameters=0,
    rc_equivariant=True,
    control="sequence",
    licence="Apache-2.0",
    citation="none",
)
ONEHOT = ModelEntry(ONEHOT_SPEC, lambda _device: OneHot(ONEHOT_SPEC))
