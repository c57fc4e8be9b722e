"""Models: one protocol, one file a family, found by name."""

from glmstore.models.base import DerivedModel, GenomicLM, MaskedLM, ModelEntry, Untrained
from glmstore.models.catalogue import DERIVED, FAMILIES, MODELS, get_model
from glmstore.models.spec import ModelSpec

__all__ = [
    "DERIVED",
    "FAMILIES",
    "MODELS",
    "DerivedModel",
    "GenomicLM",
    "MaskedLM",
    "ModelEntry",
    "ModelSpec",
    "Untrained",
    "get_model",
]
