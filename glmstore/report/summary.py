"""What a suite did, and what was drawn of it: the first page of a report, and its figures."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from glmstore.config import Frozen

STORED = "stored results"
"""Name of a summary that stands for no run."""


class SuiteSummary(Frozen):
    """What a run did and what it left out; the first page of the report."""

    name: str = Field(description="The suite, or what stands in for one.")
    started: str = Field(description="ISO 8601 time at which the run began, with its zone.")
    seconds: float = Field(ge=0, description="Wall-clock seconds.")
    computed_cells: int = Field(ge=0, description="Cells computed in this run.")
    reused_cells: int = Field(ge=0, description="Cells that the store already held.")
    computed_vectors: int = Field(0, ge=0, description="Feature vectors computed in this run.")
    reused_vectors: int = Field(0, ge=0, description="Feature vectors that the store already held.")
    failed_cells: int = Field(ge=0)
    left_out: tuple[tuple[str, str], ...] = Field((), description="What was not run, and why.")
    notes: tuple[str, ...] = Field((), description="What a reader has to know, one sentence each.")
    seeds: tuple[int, ...] = Field(description="Probe seeds.")
    command: str | None = Field(None, description="The command line that asked for the run, where one did.")


@dataclass(frozen=True)
class Figure:
    """A figure made elsewhere and shown in the report.

    Attributes
    ----------
    title
        Its heading.
    caption
        What it shows, in sentences; also its alternative text.
    png
        The image, as the bytes of a PNG file.
    """

    title: str
    caption: str
    png: bytes
