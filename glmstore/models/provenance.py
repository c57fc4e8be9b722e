"""What is written beside every view."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from glmstore.views import Provenance

if TYPE_CHECKING:
    from glmstore.models.spec import ModelSpec
    from glmstore.views import Pooling


def provenance_of(spec: ModelSpec, precision: str, pooling: Pooling = "mean") -> Provenance:
    """Return the provenance of a view of this model computed at `precision`; loads no weights.

    The pooling decides the width of its vectors.
    """
    return Provenance(
        model_spec=spec.model_dump(mode="json"),
        weights_sha256=spec.weights_sha256,
        tokenizer_sha256=spec.tokenizer_sha256,
        dim=spec.width(pooling),
        code_version=version("glmstore"),
        precision=precision,
        torch_version=version("torch") if spec.n_parameters else None,
    )
