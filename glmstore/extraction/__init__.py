"""Embed sequences with a model, and fill the store with what it lacks.

Sequences are sorted by length and cut into batches of about equal cost, layers past the one asked for are not
computed, and pooling is done in float32 whatever the compute precision.
"""

from glmstore.extraction.embedding import Chunk, embed, plan_batches
from glmstore.extraction.hardware import Precision, resolve_device, resolve_precision
from glmstore.extraction.materializing import Materialized, materialize

__all__ = [
    "Chunk",
    "Materialized",
    "Precision",
    "embed",
    "materialize",
    "plan_batches",
    "resolve_device",
    "resolve_precision",
]
