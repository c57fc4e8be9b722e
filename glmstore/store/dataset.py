"""A view as a map-style PyTorch dataset, held in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from glmstore.errors import ShapeError
from glmstore.store.features import Features

Item = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]


class FeatureDataset(Dataset[Item]):
    """Features and labels, read once: every epoch after that costs memory bandwidth only.

    An item is ``(x [D], y)``, or ``(x [Tmax, D], length, y)`` for a token-level view, in the stored number
    type. It can be moved to a device whole (:attr:`values`, :attr:`labels`), and pickled to spawned workers.

    Parameters
    ----------
    features
        N rows, as :meth:`FeatureStore.read` returns them.
    labels
        Numbers [N] or [N, targets].

    Raises
    ------
    ShapeError
        If there are not N labels.
    """

    def __init__(self, features: Features, labels: np.ndarray | Sequence[float]) -> None:
        numbers = np.asarray(labels)
        if numbers.ndim == 0 or len(numbers) != len(features.values):
            raise ShapeError(
                f"{len(features.values)} keys need as many labels; got shape {list(numbers.shape)}."
            )
        self.values = torch.from_numpy(features.values)
        self.lengths = None if features.lengths is None else torch.from_numpy(features.lengths)
        self.labels = torch.as_tensor(numbers)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> Item:
        if self.lengths is None:
            return self.values[index], self.labels[index]
        return self.values[index], self.lengths[index], self.labels[index]

    def __getitems__(self, indices: list[int]) -> list[Item]:
        """Return many items; the DataLoader calls this once a batch."""
        return [self[i] for i in indices]
