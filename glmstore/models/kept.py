"""Models that stay loaded between pieces of work: loading one can take longer than a piece of work does."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from logging import getLogger
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from glmstore.models.base import GenomicLM, ModelEntry

log = getLogger(__name__)

LIMIT = 2
"""Models kept in main memory: work comes model after model, and while one ends the next may have begun."""
LIMIT_ON_ACCELERATOR = 1
"""Models kept on a GPU, whose memory belongs to the one that runs: a second may not fit beside it."""


class Kept(NamedTuple):
    """What tells loaded models apart; weights that are pulled anew have another revision."""

    name: str
    revision: str | None
    device: str


@dataclass
class _Place:
    """Where one model is loaded, once, whoever else asks for it meanwhile."""

    lock: Lock = field(default_factory=Lock)
    model: GenomicLM | None = None


class KeptModels:
    """The models used last, shared by all threads of a process.

    Whoever gets one may run it and must not change it: adapters, for instance, are put into a model of one's
    own, from ``entry.load(device)``.

    A model that is dropped to make room lives on while somebody still runs it.

    Attributes
    ----------
    loads
        How many were loaded so far.
    """

    def __init__(self) -> None:
        self.loads = 0
        self._lock = Lock()
        self._places: OrderedDict[Kept, _Place] = OrderedDict()

    def get(self, entry: ModelEntry, device: str) -> GenomicLM:
        """Return the model of an entry on a torch device, loaded unless it is kept.

        Raises
        ------
        GlmstoreError
            Whatever ``entry.load`` raises; the next to ask tries again.
        """
        key = Kept(entry.spec.name, entry.spec.revision, device)
        with self._lock:
            place = self._places.setdefault(key, _Place())
            self._places.move_to_end(key)
            self._make_room(device)
        with place.lock:
            if place.model is None:
                place.model = self._load(entry, key)
            return place.model

    def _make_room(self, device: str) -> None:
        """Drop those of a device that were used longest ago, before the next is loaded there."""
        limit = LIMIT if device == "cpu" else LIMIT_ON_ACCELERATOR
        for key in [key for key in self._places if key.device == device][:-limit]:
            del self._places[key]

    def _load(self, entry: ModelEntry, key: Kept) -> GenomicLM:
        started = monotonic()
        try:
            model = entry.load(key.device)
        except BaseException:
            with self._lock:
                self._places.pop(key, None)
            raise
        with self._lock:
            self.loads += 1
        log.info("loaded %s on %s in %.1f s", key.name, key.device, monotonic() - started)
        return model

    def names(self) -> list[Kept]:
        """Return what is kept, the one used last at the end."""
        with self._lock:
            return list(self._places)

    def forget(self) -> None:
        """Drop them all, to make room on the device for work that loads a model of its own."""
        with self._lock:
            self._places.clear()


KEPT_MODELS = KeptModels()
"""Those of this process."""
