"""How far a variant moves the vectors: all of them in a row, reference window against alternate window.

A vector stands for a token where tokens lie alike in both windows, and for a nucleotide where they may not
(byte-pair encoding): then each nucleotide has its token's vector, and a long token counts once a letter.

The cosine *similarity* is stored, as in Tang et al. 2025, so a strong variant has a low score and a negative
correlation with the absolute effect is expected. The same holds for the dot product; for the distances L1 and
L2 a positive one. None of them knows the direction of an effect.
"""

from __future__ import annotations

import numpy as np

from glmstore.variants.base import Formula, Scorer

_TANG = "Tang et al. 2025, Genome Biology 26:203; cosine after Dalla-Torre et al. 2025, Nature Methods 22:287"


def _cosine(ref: np.ndarray, alt: np.ndarray) -> np.ndarray:
    # 1 - |u - v|^2 / 2 of unit vectors: the plain dot product loses the digits in which close windows differ.
    u = ref.astype(np.float64) / np.linalg.norm(ref.astype(np.float64))
    v = alt.astype(np.float64)
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    return np.asarray(1.0 - ((v - u) ** 2).sum(axis=1) / 2)


def _dot(ref: np.ndarray, alt: np.ndarray) -> np.ndarray:
    return np.asarray(alt.astype(np.float64) @ ref.astype(np.float64))


def _l1(ref: np.ndarray, alt: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(alt.astype(np.float64) - ref).sum(axis=1))


def _l2(ref: np.ndarray, alt: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(alt.astype(np.float64) - ref, axis=1))


def _scorer(name: str, summary: str, formula: Formula, *, similarity: bool) -> Scorer:
    return Scorer(
        name=name,
        summary=summary,
        needs="embeddings",
        is_signed=False,
        expectation="absolute effect",
        expected_sign="negative" if similarity else "positive",
        formula=formula,
        citation=_TANG,
    )


SCORERS_OF_CHANGE = (
    _scorer(
        "cosine",
        "Cosine similarity of the two windows' vectors; 1 is no change.",
        _cosine,
        similarity=True,
    ),
    _scorer("dot", "Dot product of the two windows' vectors.", _dot, similarity=True),
    _scorer("l1", "Sum of absolute differences of the vectors.", _l1, similarity=False),
    _scorer("l2", "Euclidean distance of the vectors.", _l2, similarity=False),
)
