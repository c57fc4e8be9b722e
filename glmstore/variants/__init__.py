"""Zero-shot variant scores; one file a scorer (or a family of formulas), found by name."""

from glmstore.registry import Registry
from glmstore.variants.base import Scorer

SCORERS: Registry[Scorer] = Registry("glmstore.variants", Scorer, "scorer")

__all__ = ["SCORERS", "Scorer"]
