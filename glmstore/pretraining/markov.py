"""Count-based predictors of a base from its neighbours: what a language model has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glmstore.models.gpn_config import BASE_IDS
from glmstore.pretraining.masking import is_base

MARGIN = 5
"""Positions nearer than this to the end of a window lack context for the widest baseline."""
_BLOCK = 1 << 16
"""Positions counted at a time: their codes stay in the processor's cache, however long a chromosome is."""


@dataclass(frozen=True)
class ContextModel:
    """p(base | bases at fixed offsets), add-one smoothed counts.

    Attributes
    ----------
    offsets
        Relative positions of the context; (-2, -1) is an order-2 Markov chain, (-3, …, 3) the two flanks.
    log_probability
        float64 [4 ** len(offsets), 4], natural logarithm.
    """

    offsets: tuple[int, ...]
    log_probability: np.ndarray

    @classmethod
    def fit(cls, sequences: Sequence[np.ndarray], offsets: tuple[int, ...]) -> ContextModel:
        """Count over token ids, one array a gap-free stretch; contexts with N are left out."""
        counts = np.zeros(4 ** len(offsets) * 4, dtype=np.int64)
        for ids in sequences:
            end = len(ids) - max(0, *offsets)
            for at in range(max(0, -min(offsets)), end, _BLOCK):
                stop = min(at + _BLOCK, end)
                code, known = _codes([ids[at + o : stop + o] for o in (*offsets, 0)])
                counts += np.bincount(code[known], minlength=len(counts))
        smoothed = counts.reshape(-1, 4) + 1.0
        return cls(offsets, np.log(smoothed / smoothed.sum(axis=1, keepdims=True)))

    def nll(self, windows: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return float64 [n], the negative log-likelihood in nats at (row, column) of windows [W, T].

        Every position and its context must be a base; see :func:`scorable`.
        """
        flat = windows.reshape(-1)
        positions = rows * windows.shape[1] + columns
        code, _ = _codes([flat[positions + offset] for offset in (*self.offsets, 0)])
        result: np.ndarray = -self.log_probability.reshape(-1)[code]
        return result


def _codes(tokens: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the base-4 code of context then base, each uint8 [n], and whether all of it is known."""
    code = np.zeros(len(tokens[0]), dtype=np.int64)
    known = np.ones(len(code), dtype=bool)
    for token in tokens:
        known &= is_base(token)
        code *= 4
        code += np.clip(token, BASE_IDS[0], BASE_IDS[-1]) - BASE_IDS[0]
    return code, known


def baselines(sequences: Sequence[np.ndarray]) -> dict[str, ContextModel]:
    """Fit Markov chains of order 1 to 5, and the two flanks of three bases."""
    models = {f"markov{k}": ContextModel.fit(sequences, tuple(range(-k, 0))) for k in range(1, 6)}
    models["flank3"] = ContextModel.fit(sequences, (-3, -2, -1, 1, 2, 3))
    return models


def scorable(windows: np.ndarray) -> np.ndarray:
    """Return bool [W, T]: the position and all within MARGIN of it are bases inside the window."""
    known = is_base(windows)
    ok = np.zeros_like(known)
    width = windows.shape[1]
    inner = np.ones((len(windows), max(0, width - 2 * MARGIN)), dtype=bool)
    for offset in range(2 * MARGIN + 1):
        inner &= known[:, offset : offset + inner.shape[1]]
    ok[:, MARGIN : MARGIN + inner.shape[1]] = inner
    return ok
