"""Heads: what is trained on a feature view; one file each, found by name."""

from glmstore.heads.base import Head, HeadSpec, Probe
from glmstore.registry import Registry

HEADS: Registry[Head] = Registry("glmstore.heads", Head, "head")

__all__ = ["HEADS", "Head", "HeadSpec", "Probe"]
