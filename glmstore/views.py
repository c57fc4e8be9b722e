"""A feature view: which numbers of which model stand for a sequence."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Literal

from pydantic import Field, field_validator

from glmstore.config import Frozen

Pooling = Literal["mean", "max", "cls", "mean+max", "windowed-mean", "tokens", "nucleotides"]
"""How the token vectors of a sequence become its feature; see :mod:`glmstore.models.pooling`."""
Strand = Literal["forward", "reverse", "mean"]
DType = Literal["float16", "float32", "uint8"]


class FeatureView(Frozen):
    """The identity of a view: everything that changes its numbers, and nothing else.

    Two runs with equal views write to the same table; any difference makes another table.
    """

    model: str = Field(description="Registry name of the model, as users type it.")
    revision: str = Field(
        min_length=1,
        description="What pins the weights: a sha256, a commit, or the seed's recipe for a random twin.",
    )
    layer: int = Field(
        ge=0, description="0 is the embedding layer; n_layers is the output of the last block."
    )
    pooling: Pooling = Field(
        description="How token vectors become features; 'tokens' keeps them all, 'nucleotides' repeats each "
        "over the letters it spans."
    )
    strand: Strand = Field("forward", description="Strand that is embedded; 'mean' averages both.")
    dtype: DType = Field("float16", description="Stored number type.")

    @field_validator("model", "revision")
    @classmethod
    def _printable(cls, value: str) -> str:
        if not value.isprintable() or value != value.strip():
            raise ValueError("must be printable, without white space at its ends")
        return value

    @property
    def view_id(self) -> str:
        """Sixteen hex digits that stand for the whole identity."""
        payload = json.dumps(self.model_dump(), sort_keys=True).encode()
        return hashlib.blake2b(payload, digest_size=8).hexdigest()

    @property
    def name(self) -> str:
        """Readable and unique: ``model/layer/pooling/strand/dtype@revision[:8]``."""
        return f"{self.model}/{self.layer}/{self.pooling}/{self.strand}/{self.dtype}@{self.revision[:8]}"

    @property
    def table_stem(self) -> str:
        """A file-system-safe stem for this view's tables: a readable part and the identity's digest."""
        readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{self.model}-l{self.layer}-{self.pooling}").strip("-")
        return f"view_{readable[:60]}_{self.view_id}"

    @property
    def is_token_level(self) -> bool:
        """Whether each sequence has a matrix [T, D] rather than a vector [D]."""
        return self.pooling in ("tokens", "nucleotides")


class Provenance(Frozen):
    """Where a view's numbers come from; stored beside them and shown with them."""

    model_spec: dict[str, Any] = Field(description="The ModelSpec as JSON.")
    weights_sha256: str | None = Field(
        description="sha256 of the weight file; None where a model has no weights."
    )
    tokenizer_sha256: str | None = Field(description="Digest of the vocabulary and its settings.")
    dim: int = Field(gt=0, description="D, the width of a vector.")
    code_version: str = Field(description="glmstore version that computed the view.")
    precision: str = Field(description="Compute precision: float32, or bfloat16 autocast.")
    torch_version: str | None = Field(None, description="torch version, None where torch was not used.")
