"""The masked-marginal log-likelihood ratio."""

from __future__ import annotations

import numpy as np

from glmstore.variants.base import Scorer

_SMALLEST = float(np.finfo(np.float32).tiny)


def _log_ratio(ref: np.ndarray, alt: np.ndarray) -> np.ndarray:
    # A probability that underflowed to 0 in float32 stays a finite, very low one.
    p_ref, p_alt = (np.maximum(p.astype(np.float64), _SMALLEST) for p in (ref, alt))
    return np.log(p_alt) - np.log(p_ref)


LLR = Scorer(
    name="llr",
    summary="log p(alt) - log p(ref) with the position masked; above 0 the variant fits better.",
    needs="base_probs",
    is_signed=True,
    expectation="signed effect",
    expected_sign="positive",
    formula=_log_ratio,
    citation="Benegas, Batra & Song 2023, PNAS 120:e2311219120",
)
