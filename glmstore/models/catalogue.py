"""Look models up by name, including those derived from another model."""

from __future__ import annotations

from glmstore.errors import UnknownNameError
from glmstore.models.base import DerivedModel, ModelEntry
from glmstore.models.family import Family
from glmstore.registry import Registry

MODELS: Registry[ModelEntry] = Registry("glmstore.models", ModelEntry, "model")
FAMILIES: Registry[Family] = Registry("glmstore.models", Family, "model family")
DERIVED: Registry[DerivedModel] = Registry("glmstore.models", DerivedModel, "derived model")


def get_model(name: str) -> ModelEntry:
    """Return the entry for a plain name (``gpn-mini``) or a derived one (``rand_init:gpn-mini:0``).

    Raises
    ------
    UnknownNameError
        If no entry has that name; suggests the nearest.
    """
    prefix, separator, argument = name.partition(":")
    if separator and prefix in DERIVED:
        return DERIVED[prefix].build(argument)
    if name not in MODELS:
        raise UnknownNameError("model", name, [*MODELS.names(), *(d.usage for d in DERIVED)])
    entry = MODELS[name]
    return entry.current() if entry.current is not None else entry
