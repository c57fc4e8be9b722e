"""Zero-shot scores of models whose answers are known by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from glmstore.errors import ScorerError, UnknownNameError, VariantError
from glmstore.models.base import Batch, MaskedLM
from glmstore.models.spec import ModelSpec
from glmstore.variants import SCORERS
from glmstore.variants.score import (
    alternate_windows,
    base_prob_scores,
    check_variants,
    embedding_scores,
    opposite,
    score_element,
)
from glmstore.views import Provenance

SPEC = ModelSpec(
    name="toy",
    family="toy",
    summary="",
    revision="toy-1",
    objective="mlm",
    scores_masked_bases=True,
    tokenization="character",
    max_nt=None,
    dim=4,
    n_layers=1,
    default_layer=1,
    n_parameters=0,
    licence="",
    citation="",
)


class LeftNeighbour:
    """Predicts a masked letter from the letter to its left alone: 0.7 for the same one, 0.1 for each other.

    At the left end all four are equally likely.
    """

    spec = SPEC

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def encode(self, sequences: Sequence[str]) -> Batch:
        raise NotImplementedError

    def layers(self, batch: Batch) -> Iterator[Tensor]:
        raise NotImplementedError

    def hidden_states(self, batch: Batch, layer: int) -> Tensor:
        raise NotImplementedError

    def provenance(self, precision: str) -> Provenance:
        raise NotImplementedError

    def base_probs(self, sequences: Sequence[str], positions: Sequence[int]) -> Tensor:
        self.calls += zip(sequences, positions, strict=True)
        rows = []
        for sequence, position in zip(sequences, positions, strict=True):
            left = sequence[position - 1] if position else ""
            rows.append([0.7 if base == left else (0.1 if left else 0.25) for base in "ACGT"])
        return torch.tensor(rows)


def _variants(*rows: tuple[int, str, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"offset": pl.Int64, "ref": pl.String, "alt": pl.String}, orient="row")


def test_the_toy_holds_to_the_protocol() -> None:
    assert isinstance(LeftNeighbour(), MaskedLM)


def test_llr_is_log_alt_less_log_ref_and_keeps_its_sign_and_the_order_of_rows() -> None:
    #            offset 3 follows C: C is likely, G and T are not; offset 0 has no left neighbour
    variants = _variants((3, "G", "C"), (0, "A", "T"), (2, "C", "A"), (3, "G", "T"))
    scores = score_element(LeftNeighbour(), "AACG", variants, SCORERS["llr"])
    np.testing.assert_allclose(scores, [np.log(7), 0, np.log(7), 0], atol=1e-6)


def test_llr_sees_the_reference_window_and_passes_each_position_once() -> None:
    model = LeftNeighbour()
    variants = _variants(*((i, ref, alt) for i, ref in enumerate("ACGT") for alt in "ACGT" if alt != ref))
    base_prob_scores(model, "ACGT", variants, SCORERS["llr"], batch_size=3)
    assert model.calls == [("ACGT", 0), ("ACGT", 1), ("ACGT", 2), ("ACGT", 3)]


def test_llr_of_a_probability_of_zero_is_very_low_but_finite() -> None:
    formula = SCORERS["llr"].formula
    score = formula(np.array([1.0], np.float32), np.array([0.0], np.float32))
    assert np.isfinite(score).all()
    assert score[0] < -80


def test_both_strands_average_the_score_of_the_window_and_of_its_reverse_complement() -> None:
    # Forward, offset 1 follows A: alt A gains log 7. Reverse complement of ACC is GGT; the variant is G>T at
    # offset 1, which follows G: log(0.1 / 0.7).
    variants = _variants((1, "C", "A"))
    forward = score_element(LeftNeighbour(), "ACC", variants, SCORERS["llr"])
    both = score_element(LeftNeighbour(), "ACC", variants, SCORERS["llr"], strands="both")
    np.testing.assert_allclose(forward, [np.log(7)], rtol=1e-6)
    np.testing.assert_allclose(both, [0.0], atol=1e-6)


def test_the_opposite_strand_names_the_same_change() -> None:
    reference, variants = "AACGT", _variants((0, "A", "C"), (3, "G", "T"))
    flipped, moved = opposite(reference, variants)
    assert flipped == "ACGTT"
    assert moved.rows() == [(4, "T", "G"), (1, "C", "A")]
    assert [opposite(w, variants.clear())[0] for w in alternate_windows(flipped, moved)] == ["CACGT", "AACTT"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((4, "A", "C"), r"A>C at offset 4 \(0-based\) lies outside the window of 4 nt"),
        ((-1, "T", "C"), "outside"),
        ((1, "G", "T"), r"G>T at offset 1 .* the window reads C there"),
        ((1, "C", "C"), "C>C at offset 1 .* changes nothing"),
        ((1, "C", "N"), "both alleles"),
        ((1, "C", "AA"), "both alleles"),
    ],
)
def test_a_variant_that_does_not_fit_the_window_is_named(row: tuple[int, str, str], message: str) -> None:
    with pytest.raises(VariantError, match=message):
        check_variants("ACGT", _variants((0, "A", "C"), row))


def test_change_of_embedding_by_hand() -> None:
    reference = np.array([[3.0, 0.0], [0.0, 4.0]], np.float32)  # norm 5
    alternates = np.array([[[3, 0], [0, 4]], [[0, 4], [3, 0]], [[-3, 0], [0, -4]]], np.float32)
    variants = _variants((0, "A", "C"), (0, "A", "G"), (0, "A", "T"))
    expected = {"cosine": [1, 0, -1], "dot": [25, 0, -25], "l1": [0, 14, 14], "l2": [0, np.sqrt(50), 10]}
    for name, values in expected.items():
        chunks = [(np.array([2]), alternates[[2]], None), (np.array([0, 1]), alternates[:2], None)]
        scores = embedding_scores(SCORERS[name], reference, chunks, variants)
        np.testing.assert_allclose(scores, values, atol=1e-7, err_msg=name)


def test_cosine_tells_apart_changes_that_a_float32_product_would_lose() -> None:
    reference = np.ones((230, 96), np.float32)
    alternates = np.ones((2, 230, 96), np.float32)
    alternates[0, 0, 0], alternates[1, 0, 0] = 1.001, 1.002
    scores = embedding_scores(
        SCORERS["cosine"],
        reference,
        [(np.arange(2), alternates, None)],
        _variants((0, "A", "C"), (0, "A", "G")),
    )
    changes = 1 - scores
    assert changes[0] > 0
    assert changes[1] / changes[0] == pytest.approx(4, rel=0.01)


def test_padding_beyond_the_true_tokens_does_not_count() -> None:
    reference = np.array([[1.0, 0.0]], np.float32)
    padded = np.array([[[1.0, 0.0], [9.0, 9.0]]], np.float32)
    scores = embedding_scores(
        SCORERS["l2"], reference, [(np.array([0]), padded, np.array([1]))], _variants((0, "A", "C"))
    )
    np.testing.assert_array_equal(scores, [0.0])


def test_a_variant_that_changes_the_number_of_vectors_is_refused_by_name() -> None:
    reference = np.zeros((3, 2), np.float32)
    chunk = (np.array([1, 0]), np.zeros((2, 4, 2), np.float32), np.array([4, 3]))
    with pytest.raises(ScorerError, match=r"A>G at offset 7 .* number of vectors from 3 to 4"):
        embedding_scores(SCORERS["cosine"], reference, [chunk], _variants((5, "A", "C"), (7, "A", "G")))


def test_a_model_that_cannot_serve_a_scorer_is_refused() -> None:
    for change, scorer in (
        ({"scores_masked_bases": False}, "llr"),
        ({"poolings": ("mean",)}, "cosine"),
    ):
        with pytest.raises(ScorerError, match=f"{scorer} .*toy"):
            SCORERS[scorer].check_serves(SPEC.model_copy(update=change))


@pytest.mark.parametrize("scorer", list(SCORERS), ids=lambda s: s.name)
def test_every_scorer_says_what_it_is_held_against(scorer: object) -> None:
    assert scorer.summary  # type: ignore[attr-defined]
    assert scorer.citation  # type: ignore[attr-defined]
    assert scorer.is_signed == (scorer.expectation == "signed effect")  # type: ignore[attr-defined]


def test_an_unknown_scorer_brings_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="cosine"):
        SCORERS["cosin"]
