"""A FASTA as token ids, split by position into what is trained on and what is held out."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from glmstore.data.fetch import sha256_of
from glmstore.errors import EmptySequenceError, TableError
from glmstore.models.gpn_config import BASE_IDS, UNK_ID
from glmstore.pretraining.config import CorpusFacts, HoldOut
from glmstore.pretraining.masking import is_base
from glmstore.sequences.normalise import normalise

_COORDINATES = re.compile(r"^(?P<name>[^\s:]+):(?P<start>\d+)-(?P<end>\d+)")
_CHROMOSOME = re.compile(r"(chr)?(\d{1,2}[ABLR]?|[XYWZM]|MT|[IVX]+)")
GAP_NT = 10
"""N in a row that are a gap of the assembly, as GenBank has it; fewer are letters somebody could not read."""
_NAMED = 5
_TO_IDS = np.full(256, UNK_ID, dtype=np.uint8)
_TO_IDS[np.frombuffer(b"ACGT", dtype=np.uint8)] = BASE_IDS


class Piece(NamedTuple):
    """A gap-free stretch: its place (0-based start) and its token ids, uint8 [L]."""

    name: str
    start: int
    ids: np.ndarray


@dataclass(frozen=True)
class Corpus:
    """Training and held-out pieces, and the facts that go into the model card."""

    train: list[Piece]
    heldout: list[Piece]
    facts: CorpusFacts


def to_ids(sequence: str) -> np.ndarray:
    """Return uint8 token ids [L] of a normalised sequence; N is [UNK]."""
    ids: np.ndarray = _TO_IDS[np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)]
    return ids


def read_fasta(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (header, normalised sequence), ambiguous letters as N.

    Raises
    ------
    TableError
        If the file is missing or does not begin with ``>``.
    EmptySequenceError, AlphabetError
        For the first record that cannot be used; names it.
    """
    if not path.is_file():
        raise TableError(f"{path}: there is no such file. Give the path of a FASTA, plain or gzip.")
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        header, parts = None, list[str]()
        for line in lines:
            if not line.startswith(">"):
                if header is None and line.strip():
                    raise TableError(f"{path}: the first line is not a FASTA header ('>name').")
                parts.append(line.strip())
                continue
            if header is not None:
                yield header, normalise("".join(parts), f"{path.name}, record {header}", ambiguous="N")
            header, parts = line[1:].strip(), []
        if header is None:
            raise EmptySequenceError(
                path.name, "the file holds no record", "Give a FASTA with at least one record"
            )
        yield header, normalise("".join(parts), f"{path.name}, record {header}", ambiguous="N")


def place(records: Iterator[tuple[str, str]]) -> Iterator[Piece]:
    """Give every record its coordinates: those of its header, else its offset in the file."""
    offset = 0
    for header, sequence in records:
        found = _COORDINATES.match(header)
        ids = to_ids(sequence)
        if found and int(found["end"]) - int(found["start"]) == len(sequence):
            yield Piece(found["name"], int(found["start"]), ids)
        else:
            yield Piece(next(iter(header.split()), "unnamed"), offset, ids)
        offset += len(sequence)


def without_gaps(piece: Piece) -> Iterator[Piece]:
    """Yield what lies between runs of ten and more N, in order; nothing for a piece of N alone."""
    unknown = np.concatenate([[False], ~is_base(piece.ids), [False]])
    borders = np.flatnonzero(unknown[1:] != unknown[:-1]).reshape(-1, 2)
    gaps = borders[borders[:, 1] - borders[:, 0] >= GAP_NT]
    for start, end in zip([0, *gaps[:, 1]], [*gaps[:, 0], len(piece.ids)], strict=True):
        if end > start:
            yield Piece(piece.name, piece.start + int(start), piece.ids[start:end])


def cut(piece: Piece, holdout: HoldOut) -> Iterator[tuple[bool, Piece]]:
    """Cut a piece at stretch borders; yield (held out?, part), in order, together the whole piece."""
    if holdout.names:
        yield holdout.holds(piece.name), piece
        return
    at, end = piece.start, piece.start + len(piece.ids)
    while at < end:
        region = at // holdout.region_nt
        held = region % holdout.every == holdout.offset
        border = (region + 1) * holdout.region_nt
        while (border // holdout.region_nt % holdout.every == holdout.offset) == held and border < end:
            border += holdout.region_nt
        stop = min(end, border)
        yield held, Piece(piece.name, at, piece.ids[at - piece.start : stop - piece.start])
        at = stop


def load_corpus(path: Path, holdout: HoldOut) -> Corpus:
    """Read a FASTA, split it at gaps, and by position into what is trained on and what is held out.

    Raises
    ------
    TableError
        If the file cannot be read, or either part would be empty.
    EmptySequenceError, AlphabetError
        For a record that cannot be used.
    """
    train, heldout, regions, used, left_out = (
        list[Piece](),
        list[Piece](),
        dict[str, None](),
        0,
        list[Piece](),
    )
    gap_nt = 0
    for record in place(read_fasta(path)):
        if not holdout.uses(record.name):
            left_out.append(record)
            continue
        used += 1
        gap_nt += len(record.ids)
        for held, part in (split for piece in without_gaps(record) for split in cut(piece, holdout)):
            gap_nt -= len(part.ids)
            (heldout if held else train).append(part)
            if held:
                regions[_region(part, holdout)] = None
    unknown = set(holdout.names) - {piece.name for piece in heldout}
    if unknown:
        raise TableError(
            f"{path}: no record is called {', '.join(sorted(unknown))}, to be held out. Its first names: "
            f"{', '.join(dict.fromkeys(piece.name for piece in train[:5]))}."
        )
    if not train or not heldout:
        raise TableError(
            f"{path}: {len(heldout)} pieces are held out and {len(train)} left to train on; both are needed. "
            f"{len(left_out)} records are not used, by holdout.leave_out. Choose a smaller "
            f"holdout.region_nt, another holdout.offset, fewer holdout.leave_out, or a longer FASTA."
        )
    facts = CorpusFacts(
        file=path.name,
        sha256=sha256_of(path),
        records=used,
        train_nt=sum(len(p.ids) for p in train),
        heldout_nt=sum(len(p.ids) for p in heldout),
        heldout_regions=tuple(regions),
        chromosomes=_chromosomes(train),
        left_out_records=len(left_out),
        left_out_nt=sum(len(p.ids) for p in left_out),
        left_out_names=tuple(p.name for p in left_out[:_NAMED]),
        gap_nt=gap_nt,
    )
    return Corpus(train, heldout, facts)


def _chromosomes(pieces: list[Piece]) -> tuple[str, ...] | None:
    """Return the chromosomes that pieces lie on; None where a name is none, so that they cannot be told.

    What follows an underscore names an alternate or unplaced part of the chromosome before it.
    """
    names = dict.fromkeys(piece.name.partition("_")[0] for piece in pieces)
    return tuple(names) if all(_CHROMOSOME.fullmatch(name) for name in names) else None


def _region(part: Piece, holdout: HoldOut) -> str:
    """Return what held out a part: its chromosome, or its stretch as name:start-end (0-based half-open)."""
    if holdout.names:
        return part.name
    start = part.start // holdout.region_nt * holdout.region_nt
    return f"{part.name}:{start}-{start + holdout.region_nt}"


class CropSampler:
    """Uniform random crops: every start at which a crop lies within one piece is equally likely."""

    def __init__(self, pieces: list[Piece]) -> None:
        self._ids = np.concatenate([p.ids for p in pieces])
        self._lengths = np.array([len(p.ids) for p in pieces])
        self._starts = np.concatenate([[0], np.cumsum(self._lengths)[:-1]])

    def draw(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        """Return uint8 token ids [n, length], about half of them reverse complemented.

        Raises
        ------
        TableError
            If no piece is as long as a crop.
        """
        ends = np.cumsum(np.maximum(self._lengths - length + 1, 0))
        if ends[-1] == 0:
            raise TableError(f"no training piece is {length} nt long. Choose smaller crop_lengths.")
        u = rng.integers(ends[-1], size=n)
        piece = np.searchsorted(ends, u, side="right")
        before = np.where(piece > 0, ends[piece - 1], 0)
        crops: np.ndarray = self._ids[(self._starts[piece] + u - before)[:, None] + np.arange(length)]
        flip = rng.random(n) < 0.5
        crops[flip] = reverse_complement_ids(crops[flip])
        return crops


def reverse_complement_ids(ids: np.ndarray) -> np.ndarray:
    """Return the reverse complement of token ids [..., L]; ids that are no base stay what they are."""
    table = np.arange(BASE_IDS[-1] + 1, dtype=ids.dtype)
    table[list(BASE_IDS)] = BASE_IDS[::-1]
    flipped: np.ndarray = table[ids[..., ::-1]]
    return flipped
