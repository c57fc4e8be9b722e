"""One calibration for each way of embedding, however many estimates need it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from glmstore.errors import PlanError
from glmstore.estimating.calibration import SECONDS, Calibration, Pass, calibrate

if TYPE_CHECKING:
    from glmstore.estimating.workload import Workload
    from glmstore.models.base import ModelEntry
    from glmstore.views import Pooling, Strand


class Clock:
    """Times passes on one device and remembers what it found.

    A model and its random twins share a calibration: the arithmetic is the same whatever the weights.

    Parameters
    ----------
    device
        Torch device.
    seconds
        About how long one calibration may take.
    announce
        Told the name of the model before each calibration.
    """

    def __init__(
        self, device: str, *, seconds: float = SECONDS, announce: Callable[[str], None] | None = None
    ) -> None:
        self.device, self._seconds, self._announce = device, seconds, announce
        self._found: dict[object, Calibration | PlanError] = {}

    def time(
        self,
        entry: ModelEntry,
        layers: tuple[int, ...],
        pooling: Pooling,
        strand: Strand,
        workload: Workload,
    ) -> Calibration:
        """Return how fast such a pass is over sequences like those of the workload.

        Raises
        ------
        PlanError
            If it cannot be timed here; says why.
        """
        model = entry.untrained.recipe if entry.untrained else entry.name
        mean = round(workload.nt / workload.n)
        key = (model, layers, pooling, strand, mean, workload.longest)
        if key not in self._found:
            if self._announce is not None:
                self._announce(entry.name)
            job = Pass(entry, layers, pooling, strand, self.device)
            try:
                self._found[key] = calibrate(job, workload, self._seconds)
            except PlanError as error:
                self._found[key] = error
        found = self._found[key]
        if isinstance(found, PlanError):
            raise found
        return found
