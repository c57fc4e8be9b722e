"""gpn-mini: the gLM that comes with the package."""

from __future__ import annotations

from pathlib import Path

from glmstore.models.gpn import entry_from_folder

GPN_MINI = entry_from_folder(
    Path(__file__).parent / "weights" / "gpn-mini",
    summary="A small GPN pretrained on human chr22; the default, shipped with the package.",
)
