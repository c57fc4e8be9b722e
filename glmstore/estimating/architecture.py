"""What can be known of a model's architecture before its weights are here."""

from __future__ import annotations

from glmstore.models.base import ModelEntry
from glmstore.models.catalogue import get_model
from glmstore.models.family import Architecture


def architecture_of(entry: ModelEntry) -> Architecture | None:
    """Return the architecture of a model, or of the model it was made from; None where it is no network."""
    if isinstance(entry.untrained, Architecture):
        return entry.untrained
    origin = entry.spec.twin_of
    return architecture_of(get_model(origin)) if origin is not None else None
