"""What a zero-shot scorer is: a formula over what a model says about reference and alternate allele."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from glmstore.errors import ScorerError

if TYPE_CHECKING:
    from glmstore.models.base import ModelSpec

Formula = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Scorer:
    """A registry entry; frozen data.

    Attributes
    ----------
    name
        Registry name.
    summary
        One line for people.
    needs
        ``"base_probs"``: the probabilities of the four letters at the masked position.
        ``"embeddings"``: the token vectors of the reference and of the alternate window.
        ``"log_likelihood"``: the log-likelihood of both windows, left to right.
    is_signed
        Whether the sign of the score tells the direction of the effect.
    expectation
        What the score is set against: the signed effect, or its absolute value.
    expected_sign
        Sign of that correlation if the score works. It is never taken out of a result.
    formula
        ``formula(ref, alt)`` returns float64 [V]. For base_probs both are float [V], the probability of each
        variant's reference and alternate letter; for log_likelihood both are float64 [V], in nats, of
        the window with each variant's reference and alternate letter. For embeddings, `ref` is float [F], all
        token vectors of the reference window in a row, and `alt` float [V, F].
    citation
        Who proposed it.
    """

    name: str
    summary: str
    needs: Literal["base_probs", "embeddings", "log_likelihood"]
    is_signed: bool
    expectation: Literal["signed effect", "absolute effect"]
    expected_sign: Literal["positive", "negative"]
    formula: Formula
    citation: str

    def check_serves(self, spec: ModelSpec) -> None:
        """Refuse a model that cannot give what this scorer needs.

        Raises
        ------
        ScorerError
            If the model predicts no masked letters, was not trained left to right, or has no token vectors.
        """
        if self.needs == "base_probs" and not spec.scores_masked_bases:
            raise ScorerError(
                f"{self.name} needs a model that predicts masked letters; {spec.name} does not."
            )
        if self.needs == "log_likelihood" and spec.objective != "clm":
            raise ScorerError(
                f"{self.name} needs a model trained left to right; {spec.name} has objective "
                f"{spec.objective}."
            )
        if self.needs == "embeddings" and "tokens" not in spec.poolings:
            raise ScorerError(
                f"{self.name} compares token vectors; {spec.name} gives only {', '.join(spec.poolings)}."
            )
