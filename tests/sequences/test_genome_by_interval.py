from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmstore.errors import IntervalError, TableError, UnknownNameError, VariantError
from glmstore.sequences.genome import Genome, Interval, Variant

CHROMOSOMES = st.sampled_from(["chr1", "1", "chrX", "chrUn_KI270302v1", "HLA-A*01"])
ALLELES = st.text(alphabet="ACGT", min_size=1, max_size=4)


@pytest.fixture
def genome(tmp_path):
    path = tmp_path / "small.fa"
    path.write_text(">chr1 a comment\nACGTacgt\nRRNN\n>chr2\nTTTTCCCC\n")
    with Genome(path) as opened:
        yield opened


def test_intervals_are_zero_based_and_half_open(genome) -> None:
    assert genome[Interval("chr1", 0, 1)] == "A"
    assert genome[Interval("chr1", 3, 5)] == "TA"
    assert genome[Interval("chr2", 0, 8)] == "TTTTCCCC"


def test_lower_case_and_ambiguous_letters_are_normalised(genome) -> None:
    assert genome[Interval("chr1", 4, 12)] == "ACGTNNNN"


def test_chromosomes_come_with_their_lengths(genome) -> None:
    assert genome.chromosomes == {"chr1": 12, "chr2": 8}


def test_an_interval_past_the_end_is_refused_not_cut(genome) -> None:
    with pytest.raises(IntervalError, match=r"chr2:5-9 reaches past the end of chr2 \(8 nt\)"):
        genome[Interval("chr2", 5, 9)]


def test_an_unknown_chromosome_is_named_with_the_nearest(genome) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean chr"):
        genome[Interval("chr3", 0, 1)]


def test_alleles_give_both_sequences_of_a_substitution(genome) -> None:
    assert genome.alleles(Variant("chr1", 3, "G", "A"), Interval("chr1", 0, 5)) == ("ACGTA", "ACATA")


@pytest.mark.parametrize(
    ("variant", "problem"),
    [
        (Variant("chr1", 3, "T", "A"), "not the reference 'T'"),
        (Variant("chr1", 6, "C", "A"), "not a substitution inside"),
        (Variant("chr2", 3, "T", "A"), "not a substitution inside"),
        (Variant("chr1", 3, "G", "GA"), "not a substitution inside"),
    ],
)
def test_alleles_refuse_a_variant_that_does_not_fit(genome, variant: Variant, problem: str) -> None:
    with pytest.raises(VariantError, match=problem):
        genome.alleles(variant, Interval("chr1", 0, 5))


def test_a_missing_or_broken_fasta_is_refused_by_name(tmp_path) -> None:
    with pytest.raises(TableError, match=r"absent\.fa: there is no such"):
        Genome(tmp_path / "absent.fa")
    ragged = tmp_path / "ragged.fa"
    ragged.write_text(">chr1\nACGT\nAC\nACGT\n")
    with pytest.raises(TableError, match=r"ragged\.fa cannot be indexed"):
        Genome(ragged)


@given(CHROMOSOMES, st.integers(0, 10**9), st.integers(1, 10**6))
def test_intervals_survive_the_way_through_text(chromosome: str, start: int, length: int) -> None:
    interval = Interval(chromosome, start, start + length)
    assert Interval.from_str(str(interval)) == interval
    assert len(interval) == length


@given(CHROMOSOMES, st.integers(1, 10**9), ALLELES, ALLELES)
def test_variants_survive_the_way_through_text(chromosome: str, position: int, ref: str, alt: str) -> None:
    if ref == alt:
        with pytest.raises(VariantError, match="the same"):
            Variant(chromosome, position, ref, alt)
        return
    variant = Variant(chromosome, position, ref, alt)
    assert Variant.from_str(str(variant)) == variant
    assert variant.is_snv == (len(ref) == len(alt) == 1)


def test_membership_compares_one_based_variants_with_zero_based_intervals() -> None:
    interval = Interval("chr1", 9, 12)
    inside = [p for p in range(1, 20) if Variant("chr1", p, "A", "C") in interval]
    assert inside == [10, 11, 12]
    assert Variant("chr1", 12, "AC", "A") not in interval


@pytest.mark.parametrize("text", ["chr1", "chr1:5", "chr1:5-", "chr1:a-b", ":1-2"])
def test_text_that_is_no_interval_is_refused(text: str) -> None:
    with pytest.raises(IntervalError, match="is not an interval"):
        Interval.from_str(text)


@pytest.mark.parametrize("text", ["chr1:5-6", "chr1:5:A", "chr1:5:a>g", "chr1:0:A>G", "chr1:5:->G"])
def test_text_that_is_no_variant_is_refused(text: str) -> None:
    with pytest.raises(VariantError):
        Variant.from_str(text)


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 5), (6, 5)])
def test_empty_and_reversed_intervals_are_refused(start: int, end: int) -> None:
    with pytest.raises(IntervalError, match="0 <= start < end"):
        Interval("chr1", start, end)
