"""The log-likelihood ratio of windows under causal models."""

import numpy as np
import polars as pl
import pytest

from glmstore.errors import ScorerError
from glmstore.models import FAMILIES, get_model
from glmstore.models.causal_scoring import log_likelihood
from glmstore.sequences.onehot import reverse_complement
from glmstore.variants import SCORERS
from glmstore.variants.score import alternate_windows, score_element

WINDOW = "ACGTTGCAAGCTTACGATCGATTA"
SCORER = SCORERS["causal-llr"]


def variants(reference: str = WINDOW) -> pl.DataFrame:
    rows = [(i, r, a) for i, r in enumerate(reference) for a in "ACGT" if r in "ACGT" and a != r]
    return pl.DataFrame(rows, schema=["offset", "ref", "alt"], orient="row")


@pytest.mark.parametrize("family", ["llama-char", "generator", "mistral-dna"])
def test_it_is_the_difference_of_two_log_likelihoods(family: str) -> None:
    model = FAMILIES[family].tiny_model()
    found = score_element(model, WINDOW, variants(), SCORER)
    expected = log_likelihood(model, alternate_windows(WINDOW, variants())) - log_likelihood(model, [WINDOW])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.ptp(found) > 0.01


def test_both_strands_are_averaged() -> None:
    model = FAMILIES["llama-char"].tiny_model()
    table = variants()
    back = [reverse_complement(s) for s in alternate_windows(WINDOW, table)]
    reverse = log_likelihood(model, back) - log_likelihood(model, [reverse_complement(WINDOW)])
    forward = score_element(model, WINDOW, table, SCORER)
    both = score_element(model, WINDOW, table, SCORER, strands="both")
    np.testing.assert_allclose(both, (forward + reverse) / 2, atol=1e-4)


def test_everything_after_the_variant_is_part_of_the_score() -> None:
    model = FAMILIES["llama-char"].tiny_model()
    first = variants().head(1)
    short, long = (score_element(model, w, first, SCORER)[0] for w in (WINDOW[:2], WINDOW))
    assert abs(short - long) > 1e-4


def test_letters_behind_the_last_whole_6_mer_are_scored_in_a_window_cut_from_the_left() -> None:
    model = FAMILIES["generator"].tiny_model()
    window = WINDOW + "AC"
    table = variants(window)
    found = score_element(model, window, table, SCORER)
    windows = alternate_windows(window, table)
    cut = log_likelihood(model, [w[2:] for w in windows]) - log_likelihood(model, [window[2:]])
    whole = log_likelihood(model, windows) - log_likelihood(model, [window])
    behind = (table["offset"] >= 2).to_numpy()
    assert np.count_nonzero(~behind) == 6
    np.testing.assert_allclose(found, np.where(behind, cut, whole), atol=1e-4)
    assert (np.abs(found) > 1e-6).all(), "every variant is seen"


@pytest.mark.parametrize("window", [WINDOW + "ANCGTA", "ACGT", WINDOW + "AN"])
def test_a_variant_that_no_token_spells_is_refused(window: str) -> None:
    model = FAMILIES["generator"].tiny_model()
    with pytest.raises(ScorerError, match=r"the same with A and C at offset (24|0) \(0-based"):
        score_element(model, window, variants(window), SCORER)


def test_a_masked_model_is_refused_by_name() -> None:
    with pytest.raises(
        ScorerError, match=r"causal-llr needs a model trained left to right; rand_init:gpn-mini:0"
    ):
        score_element(get_model("rand_init:gpn-mini:0").load("cpu"), WINDOW, variants(), SCORER)
