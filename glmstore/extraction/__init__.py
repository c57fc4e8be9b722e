"""Embed sequences with a model, and fill the store with what it lacks.

Sequences are sorted by length and cut into batches of about equal cost, each of which goes through the model
once for all views asked for. Layers past the last of them are not computed, and pooling is done in float32
whatever the compute precision.
"""

from glmstore.config import Precision
from glmstore.extraction.batching import BatchBudget, plan_batches
from glmstore.extraction.embedding import embed, embed_views
from glmstore.extraction.forward import Take
from glmstore.extraction.hardware import resolve_device, resolve_precision
from glmstore.extraction.materializing import Materialized, materialize, materialize_many
from glmstore.extraction.running import Chunk

__all__ = [
    "BatchBudget",
    "Chunk",
    "Materialized",
    "Precision",
    "Take",
    "embed",
    "embed_views",
    "materialize",
    "materialize_many",
    "plan_batches",
    "resolve_device",
    "resolve_precision",
]
