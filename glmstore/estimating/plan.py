"""What a run would do, found out without doing it."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from glmstore.config import Frozen
from glmstore.estimating.features import FeatureEstimate
from glmstore.estimating.quantity import Basis, Quantity, bytes_text, unknown


class Work(Frozen):
    """Cells of one kind: probes of one head on one benchmark, say."""

    stage: str = Field(description="'probes', 'adapters', 'variants', 'explanations' or 'pretraining'.")
    what: str = Field(description="What the cells are, for people.")
    asked: int
    present: int = Field(description="Of these, how many the store holds.")
    time: Quantity = Field(description="For those that it lacks.")

    @property
    def to_do(self) -> int:
        """How many are left."""
        return self.asked - self.present


class Unplanned(Frozen):
    """Something that a run would meet and that cannot be planned from here."""

    what: str
    why: str


class Plan(Frozen):
    """What a run would compute and store; nothing was computed, fetched or written to make it."""

    title: str
    store: str
    store_exists: bool
    free_bytes: int | None = Field(None, description="On the store's disk; None where that is not local.")
    device: str = ""
    features: tuple[FeatureEstimate, ...] = ()
    work: tuple[Work, ...] = ()
    unplanned: tuple[Unplanned, ...] = ()
    notes: tuple[str, ...] = ()
    memory_available: int | None = Field(None, description="Bytes on the device.")

    @property
    def size(self) -> Quantity:
        """Bytes to be stored in all."""
        bases = {f.size.basis for f in self.features}
        doubtful: tuple[Basis, ...] = ("at most", "estimate")
        basis: Basis = next((b for b in doubtful if b in bases), "exact")
        total = sum(int(f.size.value or 0) for f in self.features)
        return Quantity(value=total, unit="bytes", basis=basis)

    @property
    def time(self) -> Quantity:
        """Seconds of everything whose time is known."""
        known = [
            q for q in (*(f.time for f in self.features), *(w.time for w in self.work)) if q.value is not None
        ]
        if not known:
            return unknown("seconds", "nothing could be timed")
        lacking = len(self.features) + len(self.work) - len(known)
        how = f"without {lacking} of unknown time" if lacking else ""
        return Quantity(value=sum(q.value or 0 for q in known), unit="seconds", basis="estimate", how=how)

    @property
    def is_done(self) -> bool:
        """Whether a run would find everything in the store."""
        left = any(f.to_compute for f in self.features) or any(w.to_do for w in self.work)
        return not left and not self.unplanned

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user must see before the run: it fits on no disk, or into no memory."""
        return (*self._too_large(), *self._too_hungry())

    def _too_large(self) -> Iterable[str]:
        size = self.size
        if self.free_bytes is not None and (size.value or 0) > self.free_bytes:
            at_most = "at most " if size.basis == "at most" else ""
            yield (
                f"the disk is too small: {at_most}{size.text} are to be stored, and "
                f"{bytes_text(self.free_bytes)} are free at {self.store}. Pool, choose fewer layers or a "
                "smaller number type, or name another place with --store."
            )

    def _too_hungry(self) -> Iterable[str]:
        for model in dict.fromkeys(f.model for f in self.features if f.to_compute):
            most = max(f.memory.value or 0 for f in self.features if f.model == model)
            if self.memory_available is not None and most > self.memory_available:
                yield (
                    f"{model} takes about {bytes_text(most)} of memory, and "
                    f"{bytes_text(self.memory_available)} are free on {self.device}."
                )
