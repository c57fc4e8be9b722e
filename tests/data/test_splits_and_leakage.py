from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmstore.data.kmers import KmerSets
from glmstore.data.leakage import leakage_facts, leakage_report
from glmstore.data.splits import chromosome_split, hash_split, homology_clusters, homology_split
from glmstore.errors import TableError, UnknownNameError
from glmstore.sequences.normalise import seq_keys
from glmstore.sequences.onehot import reverse_complement

DNA = st.text("ACGTN", min_size=1, max_size=40)


def random_dna(rng: random.Random, length: int) -> str:
    return "".join(rng.choices("ACGT", k=length))


def mutated(rng: random.Random, sequence: str, rate: float) -> str:
    return "".join(rng.choice("ACGT".replace(b, "")) if rng.random() < rate else b for b in sequence)


def kmers_by_hand(sequence: str, k: int) -> set[str]:
    words = (sequence[i : i + k] for i in range(len(sequence) - k + 1))
    return {min(word, reverse_complement(word)) for word in words if "N" not in word}


@given(st.lists(DNA, min_size=2, max_size=6), st.integers(1, 6))
def test_k_mer_sets_agree_with_sets_made_by_hand(sequences: list[str], k: int) -> None:
    sets = KmerSets(sequences, k)
    by_hand = [kmers_by_hand(sequence, k) for sequence in sequences]
    assert sets.sizes.tolist() == [len(one) for one in by_hand]
    left, right = (axis.ravel() for axis in np.indices((len(sequences), len(sequences))))
    pairs = [(by_hand[i], by_hand[j]) for i, j in zip(left, right, strict=True)]
    assert sets.shared(left, right).tolist() == [len(a & b) for a, b in pairs]
    assert sets.jaccard(left, right).tolist() == [len(a & b) / max(len(a | b), 1) for a, b in pairs]


def test_minhash_agrees_as_often_as_the_jaccard_index_says() -> None:
    rng = random.Random(0)
    base = random_dna(rng, 400)
    sets = KmerSets([base, base[150:] + random_dna(rng, 150)], k=12)
    expected = sets.jaccard(np.array([0]), np.array([1]))[0]
    agreed = np.mean([len(set(sets.minhash(i).tolist())) == 1 for i in range(2000)])
    assert agreed == pytest.approx(expected, abs=0.04)


def test_minhash_of_sequences_too_short_for_a_k_mer_agrees_with_nothing() -> None:
    assert len(set(KmerSets(["ACG", "ACG", "NNNNNNNNNNNNNNN"], k=12).minhash(0).tolist())) == 3


@pytest.mark.parametrize("k", [0, 17])
def test_k_out_of_range_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="k must be 1 to 16"):
        KmerSets(["ACGT"], k)


def test_hash_split_holds_its_shares_and_never_changes() -> None:
    keys = seq_keys([random_dna(random.Random(i), 30) for i in range(20_000)])
    counts = Counter(hash_split(keys))
    assert counts["train"] / 20_000 == pytest.approx(0.8, abs=0.01)
    assert counts["valid"] / 20_000 == pytest.approx(0.1, abs=0.01)
    assert hash_split(seq_keys(["ACGT", "AAAA", "GATTACA", "TATAAA"])) == ["test", "test", "train", "train"]


@given(st.lists(DNA, min_size=1, max_size=30, unique=True))
def test_hash_split_does_not_depend_on_order_or_company(sequences: list[str]) -> None:
    keys = seq_keys(sequences)
    together = dict(zip(keys, hash_split(keys), strict=True))
    assert all(hash_split([key]) == [together[key]] for key in keys)


def test_hash_split_edges_fall_where_the_fractions_say() -> None:
    keys = ["0" * 32, "cccc" + "0" * 28, "cccd" + "0" * 28, "e666" + "0" * 28, "e667" + "0" * 28, "f" * 32]
    assert hash_split(keys) == ["train", "train", "valid", "valid", "test", "test"]


def test_chromosome_split_holds_out_whole_chromosomes() -> None:
    assert chromosome_split(["chr1", "chr7", "chr13", "chr1"], ["chr7"], ["chr13"]) == [
        "train",
        "valid",
        "test",
        "train",
    ]


def test_chromosome_split_refuses_what_cannot_be_done() -> None:
    with pytest.raises(UnknownNameError, match="no chromosome is called '7'"):
        chromosome_split(["chr1", "chr7"], ["7"], ["chr1"])
    with pytest.raises(TableError, match="both validation and test"):
        chromosome_split(["chr1", "chr2"], ["chr2"], ["chr2"])
    with pytest.raises(TableError, match="leave some to train on"):
        chromosome_split(["chr1", "chr2"], ["chr1"], ["chr2"])


def planted_families(seed: int = 0) -> tuple[list[str], list[int]]:
    """Thirty founders, each with a copy at 95 % identity, the copy's other strand and an overlapping tile."""
    rng = random.Random(seed)
    sequences, family = [], []
    for number in range(30):
        locus = random_dna(rng, 260)
        founder = locus[:171]
        copy = mutated(rng, founder, 0.05)
        sequences += [founder, copy, reverse_complement(copy), locus[85:256]]
        family += [number] * 4
    order = list(range(len(sequences)))
    rng.shuffle(order)
    return [sequences[i] for i in order], [family[i] for i in order]


def test_homology_clusters_are_the_families_that_were_planted() -> None:
    torn = 0
    for seed in range(10):
        sequences, family = planted_families(seed)
        pairs = set(zip(homology_clusters(sequences).tolist(), family, strict=True))
        assert len({cluster for cluster, _ in pairs}) == len(pairs), "a cluster never holds two families"
        torn += len(pairs) - 30
    assert torn <= 5, "at most five of 300 families fall apart"


def test_homology_clusters_are_numbered_in_the_order_they_come() -> None:
    a, b = random_dna(random.Random(1), 100), random_dna(random.Random(2), 100)
    assert homology_clusters([b, a, reverse_complement(b), a]).tolist() == [0, 1, 0, 1]


def test_short_and_repeated_sequences_cluster_only_with_their_equals() -> None:
    sequences = ["ACG", "CGT", "ACG", "TTT", "A" * 40, "A" * 41, "C" * 20 + "A" * 20]
    assert homology_clusters(sequences).tolist() == [0, 0, 0, 1, 2, 3, 4]


def test_homology_split_keeps_families_together_and_its_shares() -> None:
    sequences, family = planted_families()
    split = homology_split(sequences)
    assert len(set(zip(family, split, strict=True))) == 30, "a family is in one part only"
    assert Counter(split) == {"train": 96, "valid": 12, "test": 12}
    shuffled = list(reversed(sequences))
    assert homology_split(shuffled) == list(reversed(split))


def test_a_family_larger_than_a_held_out_part_is_trained_on() -> None:
    rng = random.Random(1)
    founder = random_dna(rng, 171)
    sequences = [mutated(rng, founder, 0.02) for _ in range(50)] + [random_dna(rng, 171) for _ in range(50)]
    assert set(homology_split(sequences)[:50]) == {"train"}


def test_one_family_alone_cannot_be_split() -> None:
    rng = random.Random(1)
    founder = random_dna(rng, 171)
    with pytest.raises(
        TableError, match="leaves valid and test empty: 1 clusters, the largest with 20 of 20"
    ):
        homology_split([mutated(rng, founder, 0.02) for _ in range(20)])


def test_leakage_counts_each_kind_once_and_in_each_direction() -> None:
    rng = random.Random(2)
    a, b, c, d = (random_dna(rng, 171) for _ in range(4))
    rows = [
        (a, "train"),
        (b, "train"),
        (c, "train"),
        (a, "test"),
        (reverse_complement(b), "test"),
        (mutated(rng, c, 0.01), "test"),
        (reverse_complement(mutated(rng, c, 0.01)), "test"),
        (d, "test"),
        (d, "valid"),
        (random_dna(rng, 171), "valid"),
    ]
    report = leakage_report([s for s, _ in rows], [p for _, p in rows])
    assert leakage_facts(report) == {
        "leaked_train_to_valid_exact": 0,
        "leaked_train_to_valid_reverse_complement": 0,
        "leaked_train_to_valid_near": 0,
        "leaked_train_to_test_exact": 1,
        "leaked_train_to_test_reverse_complement": 1,
        "leaked_train_to_test_near": 2,
        "leaked_valid_to_test_exact": 1,
        "leaked_valid_to_test_reverse_complement": 0,
        "leaked_valid_to_test_near": 0,
    }
    assert [leak.fraction for leak in report] == [0.0, 0.8, 0.2]


def test_near_duplicates_are_left_out_when_not_asked_for() -> None:
    report = leakage_report(["ACGT", "ACGT"], ["train", "test"], near=None)
    assert leakage_facts(report)["leaked_train_to_test_exact"] == 1
    assert not any("near" in name for name in leakage_facts(report))


def test_a_palindrome_is_an_exact_duplicate_only() -> None:
    (_, leak, _) = leakage_report(["GAATTC", "GAATTC"], ["train", "test"])
    assert (leak.exact, leak.reverse_complement, leak.near) == (1, 0, 0)


def test_most_near_duplicates_are_found_in_a_crowd() -> None:
    rng = random.Random(3)
    train = [random_dna(rng, 171) for _ in range(2000)]
    test = [mutated(rng, sequence, 0.02) for sequence in train[:300]]
    parts = ["train"] * 2000 + ["test"] * 300
    sets = KmerSets(train + test)
    alike = sets.jaccard(np.arange(300), np.arange(2000, 2300)) >= 0.5
    (_, leak, _) = leakage_report(train + test, parts)
    assert 0.99 * alike.sum() <= (leak.near or 0) + leak.exact <= alike.sum()
