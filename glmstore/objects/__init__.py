"""Small files at a URI, on disk or in object storage: leases, studies, probes, figures, reports."""

from __future__ import annotations

from glmstore.objects.base import Objects
from glmstore.objects.opening import open_objects

__all__ = ["Objects", "open_objects"]
