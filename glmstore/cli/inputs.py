"""Read sequences out of the files people have: FASTA, tables with a header, or one sequence a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from glmstore.errors import TableError
from glmstore.sequences.normalise import normalise_all

if TYPE_CHECKING:
    from glmstore.models.spec import ModelSpec

Ambiguous = Literal["refuse", "N"]
_FASTA = {".fa", ".fasta", ".fna", ".ffn"}
_TABLES = {".csv", ".tsv"}


def read_sequences(
    path: Path, *, column: str | None = None, ambiguous: Ambiguous = "refuse", model: ModelSpec | None = None
) -> list[str]:
    """Read and normalise every sequence of a file, in order, each checked.

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
    pairs = list(_records(path, column))
    if not pairs:
        raise TableError(f"{path.name} holds no sequence. Give FASTA, a table with a header, or one a line.")
    names = [name for name, _ in pairs]
    return checked([sequence for _, sequence in pairs], names, ambiguous=ambiguous, model=model)


def checked(
    sequences: list[str],
    names: list[str],
    *,
    ambiguous: Ambiguous = "refuse",
    model: ModelSpec | None = None,
) -> list[str]:
    """Return the sequences normalised; parameters and errors as for `read_sequences`."""
    clean = normalise_all(sequences, names, ambiguous=ambiguous)
    if model is not None:
        from glmstore.models.encoding import check_lengths

        check_lengths(model, [len(sequence) for sequence in clean], names)
    return clean


def _records(path: Path, column: str | None) -> Iterator[tuple[str, str]]:
    from glmstore.data.readers import iter_fasta, read_table

    suffixes = [s.lower() for s in path.suffixes if s.lower() != ".gz"]
    suffix = suffixes[-1] if suffixes else ""
    if suffix in _FASTA:
        for name, sequence in iter_fasta(path):
            yield f"{path.name} record {name!r}", sequence
    elif suffix in _TABLES or column is not None:
        table = read_table(path)
        name = column or "sequence"
        for row, sequence in enumerate(table.column(name)):
            yield table.where(row, name), sequence
    else:
        yield from _lines(path)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    from glmstore.data.readers import open_text

    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if line.startswith(">"):
                raise TableError(
                    f"{path.name} line {number} starts with '>' like FASTA. Call the file .fa if it is one."
                )
            if line.strip():
                yield f"{path.name} line {number}", line.strip()
