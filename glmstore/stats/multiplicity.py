"""Many tests at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def benjamini_hochberg(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return p-values adjusted for the false discovery rate over the tests that were made.

    Parameters
    ----------
    p_values
        [K] in 0..1; NaN stands for a test that could not be made, stays NaN and does not count as one.

    Raises
    ------
    ValueError
        If a p-value lies outside 0..1.

    References
    ----------
    Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57:289; scipy.stats.false_discovery_control.
    """
    from scipy.stats import false_discovery_control

    adjusted = np.array(p_values, np.float64)
    made = ~np.isnan(adjusted)
    if made.any():
        adjusted[made] = false_discovery_control(adjusted[made], method="bh")
    return adjusted
