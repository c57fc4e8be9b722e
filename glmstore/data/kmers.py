"""Sets of canonical k-mers: how alike two sequences are, and which pairs are worth comparing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from glmstore.sequences.onehot import N_CODE, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_LONGEST_K = 16
_PAIRS_AT_ONCE = 50_000


class KmerSets:
    """The distinct canonical k-mers (the lesser of a k-mer and its reverse complement) of many sequences.

    A sequence and its reverse complement have the same set. K-mers that hold an N are left out; sequences
    shorter than `k` have an empty set.

    Parameters
    ----------
    sequences
        Normalised sequences.
    k
        1 to 16.

    Attributes
    ----------
    sizes
        int64 [N], distinct k-mers of each sequence.

    Raises
    ------
    ValueError
        If `k` is out of range.
    """

    def __init__(self, sequences: Sequence[str], k: int = 10) -> None:
        if not 1 <= k <= _LONGEST_K:
            raise ValueError(f"k must be 1 to {_LONGEST_K}, not {k}")
        self._bits = np.uint64(2 * k)
        lengths = np.array([len(s) for s in sequences], np.int64)
        kmers, valid = _canonical(encode("".join(sequences)), k)
        owner = np.repeat(np.arange(len(sequences)), lengths)
        ends = np.cumsum(lengths)
        inside = np.arange(len(owner)) + k <= ends[owner]
        keep = np.flatnonzero(inside[: len(kmers)] & valid)
        keys = (owner[keep].astype(np.uint64) << self._bits) | kmers[keep]
        keys.sort()  # np.unique would hash, which takes several times as long
        self._keys: NDArray[np.uint64] = keys[np.diff(keys, prepend=~keys[:1]) != 0]
        self._kmers = self._keys & ((np.uint64(1) << self._bits) - np.uint64(1))
        self.sizes: NDArray[np.int64] = np.bincount(
            (self._keys >> self._bits).astype(np.int64), minlength=len(sequences)
        )
        self._starts = np.cumsum(self.sizes) - self.sizes

    def minhash(self, index: int) -> NDArray[np.uint64]:
        """Return uint64 [N]: the least value of hash function number `index` over each set.

        Two sequences have equal values with the probability of their Jaccard index (Broder 1997). Empty sets
        get values of their own.
        """
        salt = np.uint64(0x9E3779B97F4A7C15 * (index + 1) & 0xFFFFFFFFFFFFFFFF)
        mixed = (self._kmers ^ salt) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
        mixed >>= np.uint64(1)
        # The upper half of the range is free for the empty sets.
        least = np.arange(len(self.sizes), dtype=np.uint64) | np.uint64(1 << 63)
        filled = self.sizes > 0
        if filled.any():
            least[filled] = np.minimum.reduceat(mixed, self._starts[filled])
        return least

    def shared(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return int64 [P]: k-mers common to sequences ``left[p]`` and ``right[p]``."""
        counts = [
            self._shared(left[at : at + _PAIRS_AT_ONCE], right[at : at + _PAIRS_AT_ONCE])
            for at in range(0, len(left), _PAIRS_AT_ONCE)
        ]
        return np.concatenate(counts) if counts else np.empty(0, np.int64)

    def jaccard(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return float64 [P]: common k-mers over all k-mers of the two sets; 0 where both are empty."""
        common = self.shared(left, right)
        index: NDArray[np.float64] = common / np.maximum(self.sizes[left] + self.sizes[right] - common, 1)
        return index

    def _shared(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
        sizes = self.sizes[left]
        pair = np.repeat(np.arange(len(left)), sizes)
        within = np.arange(len(pair)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        kmers = self._kmers[self._starts[left][pair] + within]
        wanted = (right[pair].astype(np.uint64) << self._bits) | kmers
        at = np.minimum(np.searchsorted(self._keys, wanted), max(len(self._keys) - 1, 0))
        return np.bincount(pair[self._keys[at] == wanted], minlength=len(left))


def _canonical(codes: NDArray[np.uint8], k: int) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Return the canonical k-mer that starts at each position, and whether it is free of N."""
    count = max(len(codes) - k + 1, 0)
    forward, reverse = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
    valid = np.ones(count, np.bool_)
    for offset in range(k):
        code = codes[offset : offset + count]
        valid &= code != N_CODE
        letter = (code & np.uint8(3)).astype(np.uint64)
        forward = (forward << np.uint64(2)) | letter
        reverse |= (np.uint64(3) - letter) << np.uint64(2 * offset)
    return np.minimum(forward, reverse), valid
