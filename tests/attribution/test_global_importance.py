"""Global importance on models whose answers are known by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from glmstore.attribution.gia import backgrounds, global_importance, knock_out
from glmstore.attribution.sites import SITES, AnnotatedReference, Site
from glmstore.errors import SequenceError, UnknownNameError, VariantError

ORDERED = Site(name="ordered", pattern="GATTACA", start=3, effect="raises")
OTHER = Site(name="other", pattern="CCG", start=14, effect="lowers")
POLY_A = ["A" * 20] * 8


class Counting:
    """Predicts 10 for GATTACA at 3, less 4 for CCG at 14, plus the number of Gs / 100."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, sequences: Sequence[str]) -> np.ndarray:
        self.seen += sequences
        return np.array(
            [
                10.0 * (s[3:10] == "GATTACA") - 4.0 * (s[14:17] == "CCG") + s.count("G") / 100
                for s in sequences
            ]
        )


def test_a_site_is_worth_what_it_adds_and_its_letters_alone_what_they_add() -> None:
    result = global_importance(Counting(), POLY_A, [ORDERED])
    np.testing.assert_allclose(result.insertion.effect, [10.01] * 3)
    np.testing.assert_allclose(result.disruption.effect, [0.01] * 3)
    np.testing.assert_array_equal(result.insertion.before, np.zeros(8))
    np.testing.assert_allclose(result.insertion.after, np.full(8, 10.01))
    assert result.name == "ordered"


def test_sites_are_put_in_together() -> None:
    result = global_importance(Counting(), POLY_A, [OTHER, ORDERED])
    assert result.insertion.effect.value == pytest.approx(10 - 4 + 0.02)
    assert result.name == "other + ordered"


def test_the_control_has_the_site_s_letters_at_its_place_in_another_order_and_nothing_else_changed() -> None:
    model = Counting()
    global_importance(model, POLY_A, [ORDERED, OTHER], seed=1)
    plain, whole, scrambled = model.seen[:8], model.seen[8:16], model.seen[16:]
    assert plain == POLY_A
    assert whole == ["AAA" + "GATTACA" + "AAAA" + "CCG" + "AAA"] * 8
    for sequence in scrambled:
        assert Counter(sequence[3:10]) == Counter("GATTACA")
        assert sequence[3:10] != "GATTACA"
        assert Counter(sequence[14:17]) == Counter("CCG")
        assert sequence[14:17] != "CCG"
        assert set(sequence[:3] + sequence[10:14] + sequence[17:]) == {"A"}
    assert len(set(scrambled)) > 1


def test_the_interval_covers_the_spread_over_backgrounds() -> None:
    sequences = ["A" * 20, "G" * 7 + "A" * 13] * 50  # the site takes away four of seven Gs and brings one
    result = global_importance(Counting(), sequences, [ORDERED], n_resamples=500)
    assert result.insertion.effect.value == pytest.approx(10 + (0.01 - 0.03) / 2)
    assert result.insertion.effect.low < result.insertion.effect.value < result.insertion.effect.high


def test_a_knock_out_compares_the_reference_with_itself_without_the_site() -> None:
    reference = "AAA" + "GATTACA" + "A" * 10
    effect = knock_out(Counting(), reference, [ORDERED], n=20).effect
    np.testing.assert_allclose(effect, [10.0] * 3)


def test_backgrounds_keep_every_dinucleotide_and_repeat_with_their_seed() -> None:
    source = SITES["sortseq_lac"].reference

    def dinucleotides(sequence: str) -> Counter[str]:
        return Counter(sequence[i : i + 2] for i in range(len(sequence) - 1))

    drawn = backgrounds([source, source[::-1]], 5, seed=7)
    assert len(drawn) == 10
    assert all(dinucleotides(s) == dinucleotides(source) for s in drawn[:5])
    assert all(dinucleotides(s) == dinucleotides(source[::-1]) for s in drawn[5:])
    assert (
        drawn
        == backgrounds([source, source[::-1]], 5, seed=7)
        != backgrounds([source, source[::-1]], 5, seed=8)
    )


@pytest.mark.parametrize(
    ("sites", "error", "message"),
    [
        (
            [Site(name="run", pattern="AAAA", start=2, effect="raises")],
            SequenceError,
            "run: AAAA has no other order",
        ),
        ([ORDERED, OTHER.model_copy(update={"start": 9})], SequenceError, "ordered and other: they overlap"),
        ([ORDERED.model_copy(update={"start": 14})], VariantError, "does not lie inside"),
    ],
)
def test_sites_that_cannot_be_analysed_are_refused(
    sites: list[Site], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        global_importance(Counting(), POLY_A, sites)


def test_the_lac_sites_lie_where_they_say_and_all_raise_expression() -> None:
    lac = SITES["sortseq_lac"]
    assert [(s.name, s.pattern, s.start, s.stop) for s in lac.sites] == [
        ("CRP", "TGTGAGTTAGCTCACT", 6, 22),
        ("-35 box", "TTTACA", 39, 45),
        ("-10 box", "TATGTT", 63, 69),
    ]
    assert len(lac.reference) == 75
    assert {s.effect for s in lac.sites} == {"raises"}


def test_a_site_that_does_not_stand_where_it_says_is_refused() -> None:
    with pytest.raises(ValueError, match="OTHER: CCG is not at 0, where ACG is"):
        AnnotatedReference(
            name="x",
            title="x",
            reference="ACGT",
            sites=(Site(name="OTHER", pattern="CCG", start=0, effect="raises"),),
            citation="",
        )


def test_a_benchmark_without_known_sites_brings_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="sortseq_lac"):
        SITES["sortseq"]
