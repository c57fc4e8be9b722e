"""Read sequences out of the files people have: FASTA, tables with a header, or one sequence a line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from glmstore.data.lookalikes import FASTA, kind_by_name, starts_fastq, suffix_of
from glmstore.errors import TableError
from glmstore.sequences.normalise import normalise_all

if TYPE_CHECKING:
    from glmstore.models.spec import ModelSpec

Ambiguous = Literal["refuse", "N"]
_TABLES = {".csv", ".tsv"}


class Record(NamedTuple):
    """One sequence of a file.

    Attributes
    ----------
    name
        Of the FASTA record, or ``line3`` for what stands, or starts, on the third line.
    where
        How to call it in a message.
    sequence
        Its letters.
    """

    name: str
    where: str
    sequence: str


def input_file(source: str) -> Path | None:
    """Return the file that a command was given, None where what it was given names no file.

    Unlike :meth:`pathlib.Path.is_file` it takes any text, such as a sequence longer than a name can be.
    """
    return Path(source) if os.path.isfile(source) else None


def read_sequences(
    path: Path, *, column: str | None = None, ambiguous: Ambiguous = "refuse", model: ModelSpec | None = None
) -> list[str]:
    """Return the sequences of `read_records`, which see."""
    records = read_records(path, column=column, ambiguous=ambiguous, model=model)
    return [record.sequence for record in records]


def read_records(
    path: Path, *, column: str | None = None, ambiguous: Ambiguous = "refuse", model: ModelSpec | None = None
) -> list[Record]:
    """Read and normalise every record of a file, in order, each checked.

    Parameters
    ----------
    path
        FASTA (.fa, .fasta, .fna), .csv or .tsv with a header line, or any other file with one sequence a
        line; each may be gzip-compressed.
    column
        Sequence column of a table; ``sequence`` when not given.
    ambiguous
        What happens to IUPAC codes other than N: "refuse" them, or read "N".
    model
        A model that has to take them all; None checks no lengths.

    Raises
    ------
    TableError
        If the file cannot be read, is ragged or holds no sequence.
    UnknownNameError
        If a table has no such column.
    EmptySequenceError, AlphabetError, SequenceTooLongError
        For the first record that cannot be used.
    """
    records = list(_records(path, column))
    if not records:
        raise TableError(f"{path.name} holds no sequence. Give FASTA, a table with a header, or one a line.")
    places = [record.where for record in records]
    clean = checked([record.sequence for record in records], places, ambiguous=ambiguous, model=model)
    return [record._replace(sequence=sequence) for record, sequence in zip(records, clean, strict=True)]


def checked(
    sequences: list[str],
    names: list[str],
    *,
    ambiguous: Ambiguous = "refuse",
    model: ModelSpec | None = None,
) -> list[str]:
    """Return the sequences normalised; parameters and errors as for `read_records`."""
    clean = normalise_all(sequences, names, ambiguous=ambiguous)
    if model is not None:
        from glmstore.models.encoding import check_lengths

        check_lengths(model, [len(sequence) for sequence in clean], names)
    return clean


def _records(path: Path, column: str | None) -> Iterator[Record]:
    from glmstore.data.readers import iter_fasta, read_table

    suffix = suffix_of(path)
    if suffix in FASTA:
        for name, sequence in iter_fasta(path):
            yield Record(name, f"{path.name} record {name!r}", sequence)
    elif suffix in _TABLES or column is not None:
        table = read_table(path)
        column = column or "sequence"
        for row, sequence in enumerate(table.column(column)):
            yield Record(f"line{table.lines[row]}", table.where(row, column), sequence)
    elif kind := kind_by_name(path):
        raise TableError(f"{path.name} {kind}.")
    else:
        yield from _lines(path)


def _lines(path: Path) -> Iterator[Record]:
    from glmstore.data.readers import open_text

    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if line.startswith(">"):
                raise TableError(
                    f"{path.name} line {number} starts with '>' like FASTA. Call the file .fa if it is one."
                )
            if fastq := starts_fastq(line):
                raise TableError(f"{path.name} line {number}: this {fastq}.")
            if line.strip():
                yield Record(f"line{number}", f"{path.name} line {number}", line.strip())
