"""How long cells took that a store holds: what the time of the next ones is told from."""

from __future__ import annotations

import json
from statistics import median
from typing import TYPE_CHECKING, Any

from glmstore.estimating.quantity import Quantity, unknown

if TYPE_CHECKING:
    from glmstore.results import Cell
    from glmstore.store import FeatureStore

_Kind = tuple[str, str, str]


class History:
    """Seconds of the cells in a store, by benchmark, head and protocol.

    Parameters
    ----------
    store
        The store; None where there is none.
    """

    def __init__(self, store: FeatureStore | None) -> None:
        self._seconds: dict[_Kind, list[float]] = {}
        if store is None:
            return
        rows = store.results(status="ok").unique("cell_key", keep="first", maintain_order=True)
        for benchmark, head, protocol, details in rows.select(
            "benchmark", "head", "protocol", "details"
        ).iter_rows():
            if (seconds := seconds_of(json.loads(details))) is not None:
                self._seconds.setdefault((benchmark, head, protocol), []).append(seconds)

    def time(self, cell: Cell, n: int) -> Quantity:
        """Return how long `n` cells like this one take: so many times the median of those there were."""
        if n == 0:
            return Quantity(value=0.0, unit="seconds", basis="exact", how="the store holds them all")
        known = self._seconds.get((cell.benchmark, cell.head, cell.protocol))
        if not known:
            return unknown("seconds", "no such cell in the store to go by")
        how = f"{median(known):.3g} s each, the median of {len(known)} in the store"
        return Quantity(value=n * median(known), unit="seconds", basis="estimate", how=how)


def seconds_of(details: dict[str, Any]) -> float | None:
    """Return the wall time that a result row records of its cell; None where it records none, or not all.

    A tuned probe records its own training and not the search before it, so nothing can be told from it.
    """
    if "study" in details:
        return None
    if "probes" in details:
        return float(sum(probe["seconds"] for probe in details["probes"]))
    if "seconds" in details:
        return float(details["seconds"])
    return None
