"""Read sequences out of the files people have: FASTA, tables with a header, or one sequence a line."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TextIO

from glmstore.errors import EmptySequenceError, SequenceTooLongError, TableError
from glmstore.sequences.normalise import normalise_all

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_FASTA = {".fa", ".fasta", ".fna", ".ffn"}


@dataclass(frozen=True)
class Records:
    """Sequences with the names that errors use for them.

    Attributes
    ----------
    names
        "record NAME of FILE" or "line 17 of FILE".
    sequences
        As read, or normalised; one a name.
    """

    names: list[str]
    sequences: list[str]

    def normalised(self, *, ambiguous: str = "refuse", max_nt: int | None = None) -> Records:
        """Return the records over ACGTN, each checked.

        Parameters
        ----------
        ambiguous
            "refuse" or "N": what happens to IUPAC codes other than N.
        max_nt
            Longest sequence in nucleotides; None for no limit.

        Raises
        ------
        EmptySequenceError, AlphabetError, SequenceTooLongError
            For the first record that cannot be used.
        """
        clean = normalise_all(self.sequences, self.names, ambiguous=ambiguous)
        for name, sequence in zip(self.names, clean, strict=True):
            if max_nt is not None and len(sequence) > max_nt:
                raise SequenceTooLongError(
                    name,
                    f"{len(sequence):,} nucleotides, and the model takes {max_nt:,}",
                    "Cut it, leave it out, or choose a model with a longer context (glmstore models list)",
                )
        return Records(self.names, clean)


def read_records(path: Path, column: str | None = None) -> Records:
    """Read every sequence of a file, in order.

    Parameters
    ----------
    path
        FASTA (.fa, .fasta, .fna, or anything that begins with ``>``), .csv or .tsv with a header line, or one
        sequence a line; each may be gzipped (.gz).
    column
        Name of the sequence column of a table; ``sequence`` when not given.

    Raises
    ------
    TableError
        If the file cannot be read, holds no sequence, a row is ragged, or the column is not there.
    EmptySequenceError
        If a FASTA record has no sequence.
    """
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    try:
        with _opened(path) as file:
            if suffix.lower() in _DELIMITERS:
                pairs = list(_table(file, path.name, _DELIMITERS[suffix.lower()], column or "sequence"))
            elif column is not None:
                raise TableError(
                    f"{path.name}: --sequence names a column, and only .csv and .tsv have columns."
                )
            else:
                pairs = list(_fasta_or_lines(file, path.name, is_fasta=suffix.lower() in _FASTA))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path.name} cannot be read: {error}.") from error
    if not pairs:
        raise TableError(f"{path.name} holds no sequence. Give FASTA, a table with a header, or one a line.")
    return Records([name for name, _ in pairs], [sequence for _, sequence in pairs])


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _table(file: TextIO, name: str, delimiter: str, column: str) -> Iterator[tuple[str, str]]:
    rows = csv.reader(file, delimiter=delimiter, strict=True)
    header = next(rows, [])
    if column not in header:
        raise TableError(
            f"{name} has no column {column!r}; it has {', '.join(map(repr, header)) or 'none'}. "
            f"Name the right one with --sequence."
        )
    place = header.index(column)
    for row in rows:
        if not row:
            continue
        if len(row) != len(header):
            raise TableError(
                f"line {rows.line_num} of {name} has {len(row)} fields and the header {len(header)}. "
                f"Mend the line, or quote fields that hold the delimiter."
            )
        yield f"line {rows.line_num} of {name}", row[place]


def _fasta_or_lines(file: TextIO, name: str, *, is_fasta: bool) -> Iterator[tuple[str, str]]:
    lines = ((i, line.strip()) for i, line in zip(count(1), file, strict=False))
    record, parts = "", list[str]()
    for i, line in lines:
        if line.startswith(">"):
            if record:
                yield record, _joined(record, parts)
            is_fasta, parts = True, []
            record = (
                f"record {line[1:].split(maxsplit=1)[0] if line[1:].strip() else f'at line {i}'} of {name}"
            )
        elif is_fasta and record:
            parts.append(line)
        elif is_fasta and line:
            raise TableError(f"line {i} of {name} comes before the first '>' of a FASTA file.")
        elif line:
            yield f"line {i} of {name}", line
    if record:
        yield record, _joined(record, parts)


def _joined(record: str, parts: list[str]) -> str:
    sequence = "".join(parts)
    if not sequence:
        raise EmptySequenceError(record, "the record has no sequence", "Remove it or supply its sequence")
    return sequence
