"""Embed sequences with a model, and fill the store with what it lacks.

Sequences are sorted by length and cut into batches of about equal cost, each of which goes through the model
once for all views asked for. Layers past the last of them are not computed, and pooling is done in float32
whatever the compute precision.

A view is computed in one precision, whoever fills it. In float32 a vector does not depend on what is embedded
beside it, to 1e-4 of the standard deviation between sequences. In bfloat16 the kernels of attention and FFTs
round by the padding of the batch: a number changes by at most 0.005 (mean pooling), 0.02 (``max``) or 0.03
(``cls``) of that deviation on average, and by less than bfloat16 differs from float32. Convolutions and state
spaces give the same numbers on CPU. ``precision="float32"``, or GLMSTORE_PRECISION, avoids that.
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
