"""Training, validation and test where no split is published: by hash, by chromosome, by homology."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from glmstore.data.kmers import KmerSets
from glmstore.errors import TableError, UnknownNameError
from glmstore.sequences.normalise import seq_key, seq_keys
from glmstore.sequences.onehot import reverse_complement

TRAIN, VALID, TEST = "train", "valid", "test"
FRACTIONS = (0.8, 0.1, 0.1)
"""Shares of train, valid and test; the parts of a finite set differ from them by chance."""
K, CONTAINMENT, MIN_SHARED, ROUNDS = 10, 0.3, 8, 32
"""What links two sequences of a homology cluster, and how often pairs are proposed."""


def hash_split(keys: Sequence[str]) -> list[str]:
    """Split by content: the first 16 hex digits of the key, read as a fraction of 2^64, fall into a part.

    A sequence is in the same part in whichever benchmark and order it comes, and adding items moves none.

    Parameters
    ----------
    keys
        Content keys (`glmstore.sequences.normalise.seq_key`).
    """
    to_train, to_valid = FRACTIONS[0], FRACTIONS[0] + FRACTIONS[1]
    places = [int(key[:16], 16) / 2**64 for key in keys]
    return [TRAIN if place < to_train else VALID if place < to_valid else TEST for place in places]


def chromosome_split(chromosomes: Sequence[str], valid: Collection[str], test: Collection[str]) -> list[str]:
    """Split by chromosome; those named in neither list are for training.

    Raises
    ------
    UnknownNameError
        If a chromosome named for validation or test does not occur.
    TableError
        If one is named for both, or none is left to train on.
    """
    present = set(chromosomes)
    for name in (*valid, *test):
        if name not in present:
            raise UnknownNameError("chromosome", name, present)
    both = sorted(set(valid) & set(test))
    if both:
        raise TableError(f"chromosome {both[0]} cannot be in both validation and test.")
    if not present - set(valid) - set(test):
        raise TableError("every chromosome is held out; leave some to train on.")
    return [VALID if name in valid else TEST if name in test else TRAIN for name in chromosomes]


def homology_clusters(sequences: Sequence[str]) -> NDArray[np.int64]:
    """Group sequences that resemble one another on either strand, directly or through others.

    Two sequences are linked if they are equal, if one is the other's reverse complement, or if they share at
    least `MIN_SHARED` canonical k-mers that make up at least `CONTAINMENT` of the smaller set; linked
    sequences are one cluster (single linkage). At 10-mers and 0.3, full-length copies of 171 nt are
    linked in 99 % of cases at 95 % identity and in 65 % at 90 %, and tiles that overlap by a third in all.

    Pairs are proposed by MinHash, so work grows linearly with the number of sequences; a pair of Jaccard
    index J is proposed with a probability of about ``1 - (1 - J)^ROUNDS`` (0.999 at J = 0.2).

    Returns
    -------
    int64 [N], clusters numbered from 0 in the order of their first sequence.
    """
    sets = KmerSets(sequences, K)
    seen: dict[str, int] = {}
    canonical = (min(sequence, reverse_complement(sequence)) for sequence in sequences)
    components = np.array([seen.setdefault(one, len(seen)) for one in canonical], np.int64)
    for index in range(ROUNDS):
        left, right = _neighbours(sets.minhash(index))
        apart = components[left] != components[right]
        left, right = left[apart], right[apart]
        common = sets.shared(left, right)
        smaller = np.minimum(sets.sizes[left], sets.sizes[right])
        linked = (common >= MIN_SHARED) & (common >= CONTAINMENT * smaller)
        components = _join(components, left[linked], right[linked])
    _, first, inverse = np.unique(components, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def homology_split(sequences: Sequence[str], clusters: NDArray[np.int64] | None = None) -> list[str]:
    """Split so that no homology cluster is in two parts.

    Clusters, in the order of the hash of their least content key, fill test, then validation, up to their
    shares; a cluster that does not fit in what is left of either goes to train, so large families are trained
    on.

    Parameters
    ----------
    sequences
        Normalised sequences.
    clusters
        int [N]; `homology_clusters` of the sequences when not given.

    Raises
    ------
    TableError
        If validation or test stays empty because the clusters are too large.
    """
    labels = homology_clusters(sequences) if clusters is None else np.asarray(clusters)
    least: dict[int, str] = {}
    for label, key in zip(labels.tolist(), seq_keys(sequences), strict=True):
        least[label] = min(key, least.get(label, key))
    sizes = np.bincount(labels)
    room = {TEST: FRACTIONS[2] * len(labels), VALID: FRACTIONS[1] * len(labels)}
    part_of: dict[int, str] = {}
    # A key that is the least of many is small, so it is hashed again before clusters are put in its order.
    for label in sorted(least, key=lambda one: seq_key(least[one])):
        part = next((name for name, left in room.items() if sizes[label] <= left), TRAIN)
        part_of[label] = part
        if part in room:
            room[part] -= sizes[label]
    split = [part_of[label] for label in labels.tolist()]
    empty = [name for name in (TRAIN, VALID, TEST) if name not in split]
    if empty:
        raise TableError(
            f"the homology split leaves {' and '.join(empty)} empty: {len(sizes)} clusters, the largest "
            f"with {sizes.max()} of {len(labels)} sequences. Use split='hash', or a column with a split of "
            "your own."
        )
    return split


def _neighbours(sketch: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair every sequence with the one before it and with the first one that have its sketch."""
    order = np.argsort(sketch, kind="stable")
    ordered = sketch[order]
    same = np.flatnonzero(ordered[1:] == ordered[:-1])
    first = np.searchsorted(ordered, ordered[same])
    return np.concatenate([order[same], order[first]]), np.concatenate([order[same + 1], order[same + 1]])


def _join(
    components: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.int64]:
    n = int(components.max(initial=-1)) + 1
    links = coo_array((np.ones(len(left), np.int8), (components[left], components[right])), shape=(n, n))
    joined: NDArray[np.int64] = connected_components(links, directed=False)[1][components]
    return joined
