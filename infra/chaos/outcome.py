"""What one fault proved, and where it runs."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.chaos.census import Census
from infra.chaos.nest import Mother, Nest
from infra.s3.server import ObjectStorage


@dataclass(frozen=True)
class Place:
    """What every fault is given.

    Attributes
    ----------
    folder
        An empty folder of its own, removed at the end.
    storage
        A running S3 server of the whole run.
    mother
        Of all writers.
    short
        Whether to take the short form.
    chance
        Its own random numbers.
    """

    folder: Path
    storage: ObjectStorage
    mother: Mother
    short: bool
    chance: random.Random

    def uri(self, name: str) -> str:
        """Return a place for a store in a bucket of its own, whose listings show nothing else."""
        return f"{self.storage.bucket(name)}/store"

    def nest(
        self, name: str, uri: str, env: Mapping[str, str] | None = None, file_bytes: int | None = None
    ) -> Nest:
        """Return a nest of writers that keeps its notes in a folder of this name."""
        return Nest(self.mother, uri, self.folder / name, env, file_bytes)

    def pick(self, short: int, full: int) -> int:
        """Return the one of two numbers that fits the form."""
        return short if self.short else full


@dataclass
class Outcome:
    """One line of the suite.

    Attributes
    ----------
    name
        Of the fault.
    proved
        What was seen, in words.
    trials
        How often the fault really struck.
    expected
        Least number of trials for this to count.
    found
        What a census of the store found.
    broken
        Promises that did not hold, beside rows.
    """

    name: str
    proved: str = ""
    trials: int = 0
    expected: int = 1
    found: Census = field(default_factory=Census)
    broken: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether it struck as often as it should, and every promise held."""
        return self.trials >= self.expected and self.found.clean and not self.broken

    def require(self, holds: bool, otherwise: str) -> None:
        """Record a promise that did not hold."""
        if not holds:
            self.broken.append(otherwise)

    def problems(self) -> list[str]:
        """Return why it is not ok."""
        few = self.trials < self.expected
        missed = [f"struck {self.trials} times of {self.expected}"] if few else []
        return [*missed, *self.broken, *self.found.notes]

    def as_dict(self) -> dict[str, Any]:
        """Return what of it is recorded."""
        counts = {k: getattr(self.found, k) for k in ("lost", "partial", "duplicated")}
        return {"name": self.name, "trials": self.trials, **counts, "ok": self.ok}
