"""Known sites on a reference sequence: what an attribution can be held against."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from glmstore.config import Frozen


class Site(Frozen):
    """A site whose effect is known from biology."""

    name: str = Field(description="What biologists call it.")
    pattern: str = Field(pattern="^[ACGT]+$", description="Its letters, on the forward strand.")
    start: int = Field(ge=0, description="0-based position of its first letter in the reference.")
    effect: Literal["raises", "lowers"] = Field(description="What the site does to the label.")

    @property
    def stop(self) -> int:
        """0-based position after its last letter."""
        return self.start + len(self.pattern)


class AnnotatedReference(Frozen):
    """A benchmark's reference sequence with the sites known on it."""

    name: str = Field(description="Name of the benchmark.")
    title: str = Field(description="What the reference is, for captions.")
    reference: str = Field(
        pattern="^[ACGT]+$", description="The wild type, as long as the benchmark's sequences."
    )
    sites: tuple[Site, ...]
    citation: str

    @model_validator(mode="after")
    def _sites_lie_where_they_say(self) -> AnnotatedReference:
        for site in self.sites:
            found = self.reference[site.start : site.stop]
            if found != site.pattern:
                raise ValueError(
                    f"{site.name}: {site.pattern} is not at {site.start}, where {found or 'nothing'} is"
                )
        return self
