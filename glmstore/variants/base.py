"""What a zero-shot scorer is: a formula over what a model says about reference and alternate allele."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from glmstore.errors import ScorerError

if TYPE_CHECKING:
    from glmstore.models.spec import ModelSpec
    from glmstore.views import Pooling

Formula = Callable[[np.ndarray, np.ndarray], np.ndarray]

_FIXED_SPANS = re.compile(r"character|(overlapping )?(\d+|k)-mer|one-hot window")


def compared_pooling(spec: ModelSpec) -> Pooling:
    """Return under which pooling vectors side by side, of two windows one letter apart, are of one place.

    Letters, k-mers and the bins of one-hot windows are cut by length (and N) alone, so the tokens of both
    windows have the same spans. Where the letters decide the cut, as in byte-pair encoding, one changed
    letter moves the borders of tokens, often without changing their number. There, and for every
    tokenization not known here, each nucleotide has the vector of its token, and nucleotides are compared.

    Parameters
    ----------
    spec
        Its `tokenization` decides.

    Returns
    -------
    Pooling
        "tokens" or "nucleotides".
    """
    return "tokens" if _FIXED_SPANS.fullmatch(spec.tokenization) else "nucleotides"


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
        ``"embeddings"``: the vectors of the reference and of the alternate window, one a token or, where a
        variant can move the tokens, one a nucleotide (see :func:`compared_pooling`).
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
        vectors of the reference window in a row, and `alt` float [V, F].
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
