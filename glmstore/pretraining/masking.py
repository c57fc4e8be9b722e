"""Which positions are predicted, and what the network is shown there."""

from __future__ import annotations

import numpy as np

from glmstore.models.gpn_config import BASE_IDS, MASK_ID


def is_base(ids: np.ndarray) -> np.ndarray:
    """Return bool, True where a token is A, C, G or T."""
    known: np.ndarray = ids >= BASE_IDS[0]
    return known


def corrupt(rng: np.random.Generator, ids: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Choose positions to predict and hide them: 80 % become [MASK], 10 % a random base, 10 % stay.

    The scheme of BERT (Devlin et al. 2019), which GPN was trained with; the random token is drawn from the
    four bases only. N is never predicted.

    Parameters
    ----------
    ids
        uint8 [B, T].
    fraction
        Share of positions chosen, each on its own.

    Returns
    -------
    shown, chosen
        uint8 [B, T] and bool [B, T].
    """
    chosen = (rng.random(ids.shape, dtype=np.float32) < fraction) & is_base(ids)
    how = rng.random(ids.shape, dtype=np.float32)
    shown = ids.copy()
    shown[chosen & (how < 0.8)] = MASK_ID
    swap = chosen & (how >= 0.9)
    shown[swap] = rng.choice(np.array(BASE_IDS, dtype=ids.dtype), size=int(swap.sum()))
    return shown, chosen
