"""Put two leaderboard lines beside each other on the same test items, from their stored predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from glmstore.errors import ShapeError

if TYPE_CHECKING:
    from glmstore.report.memory import Memory
    from glmstore.report.panel import Entry
    from glmstore.stats.bootstrap import Interval
    from glmstore.store import FeatureStore


@dataclass(frozen=True)
class Scored:
    """The predictions behind one line.

    Attributes
    ----------
    item_ids
        str [N], sorted.
    y
        float64 [N], labels.
    clusters
        str [N]; items of one cluster are resampled together.
    predictions
        One float64 [S, N] a cell: an initialisation of a random twin, or the model itself; S probe seeds.
    """

    item_ids: np.ndarray
    y: np.ndarray
    clusters: np.ndarray
    predictions: tuple[np.ndarray, ...]


class Comparer:
    """Intervals and paired differences of leaderboard lines, each computed once and remembered.

    Parameters
    ----------
    store
        Where the predictions lie.
    lines
        The lines that will be asked about; their predictions are read together on first use.
    memory
        Where intervals are kept between calls.
    n_resamples
        Bootstrap resamples.
    """

    def __init__(
        self, store: FeatureStore, lines: Iterable[Entry], memory: Memory, *, n_resamples: int = 1000
    ) -> None:
        self.store, self.memory, self.n_resamples = store, memory, n_resamples
        self._cells = sorted({cell for line in lines if line.ok for cell in line.cells})
        self._scored: dict[tuple[str, ...], Scored | None] = {}

    @cached_property
    def _by_cell(self) -> dict[str, pl.DataFrame]:
        if not self._cells:
            return {}
        parts = self.store.predictions(self._cells).partition_by("cell_key", as_dict=True)
        return {str(key[0]): part for key, part in parts.items()}

    def scored(self, line: Entry) -> Scored | None:
        """Return the predictions of a line, or None where a cell of it has none stored."""
        if line.cells not in self._scored:
            parts = [self._by_cell[c] for c in line.cells if c in self._by_cell]
            self._scored[line.cells] = _align(parts) if len(parts) == len(line.cells) and parts else None
        return self._scored[line.cells]

    def interval(self, line: Entry) -> Interval | None:
        """Return the line's metric with its interval over clusters, initialisations and probe seeds.

        None where a cell of the line has no predictions stored.
        """
        key = self.memory.key("interval", line.identity, self.n_resamples)
        return self._remembered(key, lambda: self._interval(line))

    def difference(self, line: Entry, control: Entry) -> Interval | None:
        """Return `line` minus `control` in the metric of both, paired over test clusters.

        None where either has no predictions stored.

        Raises
        ------
        ShapeError
            If the two were not scored on the same test items with the same labels.
        """
        key = self.memory.key("difference", line.identity, control.identity, self.n_resamples)
        return self._remembered(key, lambda: self._difference(line, control))

    def _remembered(self, key: str, compute: Callable[[], Interval | None]) -> Interval | None:
        known = self.memory.get(key)
        if known is None and (known := compute()) is not None:
            self.memory.put(key, known)
        return known

    def _interval(self, line: Entry) -> Interval | None:
        from glmstore.stats.bootstrap import interval

        scored = self.scored(line)
        if scored is None:
            return None
        metric = line.row["metric"]
        return interval(metric, scored.y, scored.predictions, scored.clusters, n_resamples=self.n_resamples)

    def _difference(self, line: Entry, control: Entry) -> Interval | None:
        from glmstore.stats.bootstrap import paired_difference

        a, b = self.scored(line), self.scored(control)
        if a is None or b is None:
            return None
        if not (np.array_equal(a.item_ids, b.item_ids) and np.array_equal(a.y, b.y)):
            raise ShapeError(
                f"{line.row['model']} and {control.row['model']} were scored on different test items of "
                f"{line.row['benchmark']} ({len(a.y)} and {len(b.y)}); compute both on one version of it."
            )
        metric = line.row["metric"]
        return paired_difference(
            metric, a.y, a.predictions, b.predictions, a.clusters, n_resamples=self.n_resamples
        )


def _align(parts: list[pl.DataFrame]) -> Scored:
    """Put the predictions of several cells over the items that all of them scored."""
    runs = ["cell_key", "seed"]
    wide = (
        pl.concat(parts)
        .sort(*runs)
        .pivot(on=runs, index="item_id", values="prediction")
        .drop_nulls()
        .sort("item_id")
    )
    items = parts[0].unique("item_id", keep="first").select("item_id", "label", "cluster")
    items = wide.select("item_id").join(items, on="item_id", how="left", maintain_order="left")
    stacked = np.ascontiguousarray(wide.drop("item_id").to_numpy().T)
    ends = np.cumsum([part["seed"].n_unique() for part in sorted(parts, key=lambda p: p["cell_key"][0])])
    return Scored(
        item_ids=wide["item_id"].to_numpy(),
        y=items["label"].to_numpy(),
        clusters=items["cluster"].to_numpy(),
        predictions=tuple(np.split(stacked, ends[:-1])),
    )
