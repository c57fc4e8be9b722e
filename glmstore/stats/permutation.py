"""The label permutation control."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def permuted_labels(y: np.ndarray, seed: int | Sequence[int]) -> np.ndarray:
    """Return the labels [N] in random order: the same values, none of their relation to the sequences.

    A probe trained on them shows what the pipeline reports where there is nothing to learn. Permute train and
    validation apart, and never the test labels.
    """
    return np.asarray(np.random.default_rng(seed).permutation(np.asarray(y)))
