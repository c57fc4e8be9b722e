"""Ranks of resampled data without sorting again."""

from __future__ import annotations

import numpy as np


class Ties:
    """A vector sorted once, with its runs of equal values.

    Attributes
    ----------
    order
        int [N], indices that sort the vector upwards.
    starts
        int [G], where each run of equal values begins in sorted order.
    group
        int [N], the run of each item, in the items' own order.
    """

    def __init__(self, x: np.ndarray) -> None:
        self.order = np.argsort(x, kind="stable")
        ordered = x[self.order]
        new = np.r_[True, ordered[1:] != ordered[:-1]]
        self.starts = np.flatnonzero(new)
        self.group = np.empty(len(x), np.intp)
        self.group[self.order] = np.cumsum(new) - 1

    def sums(self, weights: np.ndarray) -> np.ndarray:
        """Return [R, G]: the weights [R, N] added up over each run, smallest value first."""
        ordered = weights[:, self.order]
        return (
            ordered if len(self.starts) == ordered.shape[1] else np.add.reduceat(ordered, self.starts, axis=1)
        )

    def mid_ranks(self, weights: np.ndarray) -> np.ndarray:
        """Return [R, N]: mid-ranks, less one half, of items drawn `weights` [R, N] times."""
        drawn = self.sums(weights)
        middle = np.cumsum(drawn, axis=1)
        middle -= drawn / 2
        return middle[:, self.group]
