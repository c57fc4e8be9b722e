"""References with known sites; one file a benchmark, found by the benchmark's name."""

from glmstore.attribution.sites.base import AnnotatedReference, Site
from glmstore.registry import Registry

SITES: Registry[AnnotatedReference] = Registry(
    "glmstore.attribution.sites", AnnotatedReference, "annotated reference"
)

__all__ = ["SITES", "AnnotatedReference", "Site"]
