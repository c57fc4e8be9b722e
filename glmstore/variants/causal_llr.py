"""The log-likelihood ratio of whole windows, for models trained left to right.

Models of 6-mers side by side cannot spell the one to five letters behind the last whole 6-mer. Their windows
lose as many letters on the left, as their authors cut them; a variant among those letters is scored in the
window as it is, less its end. Within one window two framings can thus occur, at most five letters apart.
"""

from __future__ import annotations

import numpy as np

from glmstore.variants.base import Scorer


def _difference(ref: np.ndarray, alt: np.ndarray) -> np.ndarray:
    return np.asarray(alt.astype(np.float64) - ref)


CAUSAL_LLR = Scorer(
    name="causal-llr",
    summary="log p(alternate window) - log p(reference window), left to right; above 0 the variant fits.",
    needs="log_likelihood",
    is_signed=True,
    expectation="signed effect",
    expected_sign="positive",
    formula=_difference,
    citation="Nguyen et al. 2024, Science 386:eado9336; Brixi et al. 2025, bioRxiv 2025.02.18.638918",
)
