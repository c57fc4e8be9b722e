from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from glmstore.errors import AlphabetError
from glmstore.sequences.shuffle import dinucleotide_shuffle

DNA = st.text(alphabet="ACGT", min_size=1, max_size=80)
DNA_WITH_N = st.text(alphabet="ACGTN", min_size=1, max_size=80)


def every_shuffle(sequence: str) -> set[str]:
    """Enumerate the walks over the same dinucleotides from the same first letter."""
    found = set()

    def extend(walk: str, left: Counter[tuple[str, str]]) -> None:
        if not left:
            found.add(walk)
        for edge in [edge for edge in left if edge[0] == walk[-1]]:
            extend(walk + edge[1], left - Counter([edge]))

    extend(sequence[0], Counter(pairwise(sequence)))
    return found


@given(st.lists(DNA_WITH_N, max_size=5), st.integers(0, 4), st.integers(0, 2**40))
def test_every_shuffle_keeps_all_dinucleotide_counts_and_both_ends(sequences, n, seed) -> None:
    shuffled = dinucleotide_shuffle(sequences, n, seed)
    assert [len(s) for s in shuffled] == [n] * len(sequences)
    for sequence, rows in zip(sequences, shuffled, strict=True):
        for row in rows:
            assert Counter(pairwise(row)) == Counter(pairwise(sequence))
            assert (row[0], row[-1], len(row)) == (sequence[0], sequence[-1], len(sequence))


@given(DNA_WITH_N)
def test_n_stays_where_it_is(sequence: str) -> None:
    ((row,),) = dinucleotide_shuffle([sequence], 1, 3)
    assert [i for i, letter in enumerate(row) if letter == "N"] == [
        i for i, letter in enumerate(sequence) if letter == "N"
    ]


@given(st.text(alphabet="ACGT", min_size=1, max_size=9))
def test_only_and_all_distinct_shuffles_of_a_short_sequence_are_reached(sequence: str) -> None:
    reachable = every_shuffle(sequence)
    (rows,) = dinucleotide_shuffle([sequence], 200 * len(reachable), 0)
    assert set(rows) == reachable


@pytest.mark.parametrize("sequence", ["GTTCTAGCGCT", "CCCCGCCGACC", "GCATCACTAAT"])
def test_all_42_distinct_shuffles_are_equally_likely(sequence: str) -> None:
    (rows,) = dinucleotide_shuffle([sequence], 42_000, seed=1)
    counts = Counter(rows)
    assert set(counts) == every_shuffle(sequence)
    assert len(counts) == 42
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_uniform_when_the_way_to_the_last_letter_is_rare() -> None:
    sequence = "ATATATATATCAG"
    (rows,) = dinucleotide_shuffle([sequence], 30_000, seed=4)
    counts = Counter(rows)
    assert set(counts) == every_shuffle(sequence)
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_shuffles_depend_on_the_seed_and_the_sequence_and_not_on_neighbours_or_n() -> None:
    a, b = "ACGTTGCAGGATCCGATCA" * 3, "TTGACAGCTTATATTGGC" * 4
    together = dinucleotide_shuffle([a, b], 5, seed=7)
    assert dinucleotide_shuffle([b], 2, seed=7) == [together[1][:2]]
    assert dinucleotide_shuffle([a, b], 5, seed=7) == together
    assert dinucleotide_shuffle([a, b], 5, seed=8) != together


def test_a_fixed_seed_gives_the_shuffles_it_gave_when_this_was_written() -> None:
    assert dinucleotide_shuffle(["ACGTTGCANNGGATCCGATCN"], 3, 1) == [
        ["ACGTTGCANNGGATCCGATCN", "ACGTTGCANNGATCCGGATCN", "ACGTTGCANNGATCGGATCCN"]
    ]


def test_letters_outside_the_alphabet_are_refused() -> None:
    with pytest.raises(AlphabetError, match="'R' at position 2"):
        dinucleotide_shuffle(["ACRT"], 1, 0)
