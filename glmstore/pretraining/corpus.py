"""A FASTA as token ids, split by position into what is trained on and what is held out."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from glmstore.errors import EmptySequenceError, TableError
from glmstore.models.gpn_config import BASE_IDS, UNK_ID
from glmstore.pretraining.config import CorpusFacts, HoldOut
from glmstore.sequences.normalise import normalise

_COORDINATES = re.compile(r"^(?P<name>[^\s:]+):(?P<start>\d+)-(?P<end>\d+)")
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


def cut(piece: Piece, holdout: HoldOut) -> Iterator[tuple[bool, Piece]]:
    """Cut a piece at stretch borders; yield (held out?, part), in order, together the whole piece."""
    if holdout.names:
        yield piece.name in holdout.names, piece
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
    """Read a FASTA and split it by position.

    Raises
    ------
    TableError
        If the file cannot be read, or either part would be empty.
    EmptySequenceError, AlphabetError
        For a record that cannot be used.
    """
    train, heldout, regions, records = list[Piece](), list[Piece](), dict[str, None](), 0
    for piece in place(read_fasta(path)):
        records += 1
        for held, part in cut(piece, holdout):
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
            "Choose a smaller holdout.region_nt, another holdout.offset, or a longer FASTA."
        )
    facts = CorpusFacts(
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        records=records,
        train_nt=sum(len(p.ids) for p in train),
        heldout_nt=sum(len(p.ids) for p in heldout),
        heldout_regions=tuple(regions),
    )
    return Corpus(train, heldout, facts)


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
