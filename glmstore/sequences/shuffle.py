"""Shuffles that keep every dinucleotide count: backgrounds for attribution and global importance analysis.

A sequence is a walk through the graph whose vertices are letters and whose edges are its dinucleotides; a
shuffle is another walk over the same edges. Drawing a uniform spanning tree towards the last letter (Wilson
1996) to fix the last exit of every other letter, and a uniform order for the remaining exits, makes every
distinct shuffle equally likely (Altschul & Erickson 1985; Jiang et al. 2008, uShuffle).
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numba
import numpy as np

from glmstore.sequences.onehot import BASES, N_CODE, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_U64 = np.uint64
_LETTERS = np.frombuffer(f"{BASES}N".encode(), np.uint8)


def dinucleotide_shuffle(sequences: Sequence[str], n: int, seed: int) -> list[list[str]]:
    """Return `n` dinucleotide shuffles of every sequence, uniform over all distinct ones.

    Every shuffle has exactly the dinucleotide (hence nucleotide) counts of its sequence and the same first
    and last letter. Runs of N stay where they are, and each stretch between them is shuffled by itself.

    Parameters
    ----------
    sequences
        Normalised sequences, of any lengths.
    n
        Shuffles of each; they may repeat where a sequence has few distinct ones.
    seed
        The shuffles of a sequence depend on the seed and that sequence alone, not on its neighbours, and
        the first `n` of a longer draw are the draw of `n`.

    Raises
    ------
    AlphabetError
        If a letter outside ACGTN occurs.
    """
    codes = encode("".join(sequences))
    ends = np.cumsum([0, *map(len, sequences)])
    states = np.array([_state(sequence, seed) for sequence in sequences], np.uint64)
    shuffled = np.empty(n * codes.size, np.uint8)
    _shuffle_all(codes, ends, shuffled, states, n)
    text = shuffled.tobytes().decode("ascii")
    blocks = zip((n * ends[:-1]).tolist(), map(len, sequences), strict=True)
    return [[text[at + i * length : at + (i + 1) * length] for i in range(n)] for at, length in blocks]


def _state(sequence: str, seed: int) -> int:
    return int.from_bytes(blake2b(f"{seed}:{sequence}".encode(), digest_size=8).digest(), "little")


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _shuffle_all(
    codes: NDArray[np.uint8],
    ends: NDArray[np.int64],
    out: NDArray[np.uint8],
    states: NDArray[np.uint64],
    n: int,
) -> None:
    """Fill `out` (uint8 [n * total length]) with the n shuffles of each sequence in turn."""
    for index in range(states.size):
        sequence = codes[ends[index] : ends[index + 1]]
        rows = out[n * ends[index] : n * ends[index + 1]].reshape(n, sequence.size)
        state = states[index]
        start = 0
        while start < sequence.size:
            end = start + 1
            if sequence[start] == N_CODE:
                rows[:, start] = _LETTERS[N_CODE]
            else:
                while end < sequence.size and sequence[end] != N_CODE:
                    end += 1
                state = _shuffle_rows(sequence[start:end], rows[:, start:end], state)
            start = end


@numba.njit(inline="always")  # type: ignore[untyped-decorator]
def _below(bound: np.uint64, state: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Return the next state and an exactly uniform draw from 0 .. bound-1 (splitmix64; Lemire 2019)."""
    while True:
        state = state + _U64(0x9E3779B97F4A7C15)
        z = (state ^ (state >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> _U64(27))) * _U64(0x94D049BB133111EB)
        product = ((z ^ (z >> _U64(31))) >> _U64(32)) * bound
        low = product & _U64(0xFFFFFFFF)
        if low >= bound or low >= (_U64(0x100000000) - bound) % bound:
            return state, product >> _U64(32)


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _shuffle_rows(codes: NDArray[np.uint8], out: NDArray[np.uint8], state: np.uint64) -> np.uint64:
    """Write one shuffle of `codes` (uint8 [L], 0..3) as ASCII into every row of `out` (uint8 [n, L]).

    Indices are unsigned throughout: signed ones cost a wrap-around test each.
    """
    length = _U64(codes.shape[0])
    root = _U64(codes[length - _U64(1)])
    first = np.zeros(5, np.uint64)
    for i in range(_U64(0), length - _U64(1)):
        first[_U64(codes[i]) + _U64(1)] += _U64(1)
    for v in range(4):
        first[v + 1] += first[v]
    exits = np.empty(codes.shape[0] - 1, np.uint8)
    cursor = first[:4].copy()
    for i in range(_U64(0), length - _U64(1)):
        at = _U64(codes[i])
        exits[cursor[at]] = codes[i + _U64(1)]
        cursor[at] += _U64(1)

    last = np.zeros(4, np.uint64)
    for row in range(out.shape[0]):
        state = _draw_last_exits(exits, first, root, last, state)
        for v in range(4):
            low, high = first[v], first[v + 1]
            if low < high and _U64(v) != root:
                high -= _U64(1)
                exits[high], exits[last[v]] = exits[last[v]], exits[high]
            remaining = high - low
            while remaining > _U64(1):
                state, pick = _below(remaining, state)
                remaining -= _U64(1)
                taken = exits[low + pick]
                exits[low + pick] = exits[low + remaining]
                exits[low + remaining] = taken
            cursor[v] = low
        code = codes[0]
        for i in range(_U64(0), length - _U64(1)):
            out[row, i] = _LETTERS[code]
            at = _U64(code)
            code = exits[cursor[at]]
            cursor[at] += _U64(1)
        out[row, length - _U64(1)] = _LETTERS[code]
    return state


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _draw_last_exits(
    exits: NDArray[np.uint8],
    first: NDArray[np.uint64],
    root: np.uint64,
    last: NDArray[np.uint64],
    state: np.uint64,
) -> np.uint64:
    """Draw a spanning tree towards `root` by loop-erased walks; `last[v]`: v's edge, an index of `exits`."""
    in_tree = np.zeros(4, np.bool_)
    in_tree[root] = True
    for letter in range(4):
        if first[letter + 1] == first[letter]:
            continue
        at = _U64(letter)
        while not in_tree[at]:
            state, pick = _below(first[at + _U64(1)] - first[at], state)
            last[at] = first[at] + pick
            at = _U64(exits[last[at]])
        at = _U64(letter)
        while not in_tree[at]:
            in_tree[at] = True
            at = _U64(exits[last[at]])
    return state
