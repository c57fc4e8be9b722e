"""Readers of the formats data are published in; what cannot be read is refused by file, line and column."""

from __future__ import annotations

import csv
import gzip
import io
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from glmstore.data.lookalikes import (
    FASTA,
    cure_for_number,
    encoding,
    kind_by_name,
    separated,
    starts_fastq,
    suffix_of,
)
from glmstore.errors import LabelError, TableError, UnknownNameError
from glmstore.sequences.normalise import normalise, normalise_all

# The csv module stops at 131,072 letters a field; inputs of long-context models are longer.
csv.field_size_limit(1 << 27)

_SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}


@dataclass(frozen=True)
class Table:
    """A delimited file as text, with the line each row stands on.

    Attributes
    ----------
    path
        The file.
    frame
        One String column a column of the file; nothing is converted or dropped.
    lines
        int64 [rows], the 1-based line on which each row starts.
    """

    path: Path
    frame: pl.DataFrame
    lines: NDArray[np.int64]

    def __len__(self) -> int:
        return self.frame.height

    def where(self, row: int, column: str) -> str:
        """Return how to call one field in a message."""
        return f"{self.path.name} line {self.lines[row]}, column {column!r}"

    def only(self, rows: pl.Expr) -> Table:
        """Return the rows for which an expression over the columns is true; lines stay as they were."""
        keep = self.frame.select(rows.alias("keep"))["keep"]
        return Table(self.path, self.frame.filter(keep), self.lines[keep.to_numpy()])

    def column(self, name: str) -> pl.Series:
        """Return a column of text.

        Raises
        ------
        UnknownNameError
            If there is no such column; suggests the nearest.
        """
        if name not in self.frame.columns:
            raise UnknownNameError("column", name, self.frame.columns, f"(in {self.path.name})")
        return self.frame[name]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a column as finite float64 [rows].

        Raises
        ------
        UnknownNameError
            If there is no such column.
        LabelError
            If a field is empty, not a number, NaN or infinite; names the line.
        """
        text = self.column(name).str.strip_chars()
        values: NDArray[np.float64] = text.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            row = int(bad[0])
            problem = f"{text[row]!r} is not a finite number" if text[row] else "the value is missing"
            more = f" ({bad.size} such rows)" if bad.size > 1 else ""
            cure = cure_for_number(text[row], mostly=2 * bad.size > len(self))
            raise LabelError(f"{self.where(row, name)}: {problem}{more}. {cure}.")
        return values

    def sequences(self, name: str, *, ambiguous: str = "refuse") -> list[str]:
        """Return a column as normalised sequences.

        Raises
        ------
        UnknownNameError
            If there is no such column.
        EmptySequenceError, AlphabetError
            For the first sequence that cannot be used; names the line.
        """
        records = [self.where(row, name) for row in range(len(self))]
        return normalise_all(self.column(name).to_list(), records, ambiguous=ambiguous)


def read_table(path: str | Path) -> Table:
    """Read a delimited file with a header, plain or gzip-compressed.

    Parameters
    ----------
    path
        ``.csv``, separated by commas, or ``.tsv`` or ``.txt``, by tabs; with or without ``.gz``.

    Raises
    ------
    TableError
        If the file is absent, unreadable, of another kind or separated otherwise than its name says, without
        header or rows, has duplicate or unnamed columns, or a row with another number of fields than the
        header (names the line).
    """
    path = Path(path)
    with open_text(path) as file:
        reader = csv.reader(file, delimiter=_separator(path), strict=True)
        rows, lines = [], []
        try:
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header)
            start = reader.line_num + 1
            for row in reader:
                if row:
                    if len(row) != len(header):
                        raise TableError(
                            f"{path.name} line {start}: {len(row)} fields, but the header names "
                            f"{len(header)} ({', '.join(header[:6])}). Quote fields that hold the separator, "
                            "or fill in the row."
                        )
                    rows.append(row)
                    lines.append(start)
                start = reader.line_num + 1
        except csv.Error as error:
            raise TableError(f"{path.name} line {reader.line_num}: {error}.") from error
    if not rows:
        raise TableError(f"{path.name} has a header but no rows.")
    frame = pl.DataFrame(rows, schema=dict.fromkeys(header, pl.String), orient="row")
    return Table(path, frame, np.asarray(lines, np.int64))


def iter_fasta(path: str | Path) -> Iterator[tuple[str, str]]:
    """Yield (name, sequence as written) of every record; the name is the header up to its first white space.

    Raises
    ------
    TableError
        If the file is absent or unreadable, does not start with ``>``, or has a record without a name.
    """
    path = Path(path)
    name: str | None = None
    parts: list[str] = []
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            line = line.strip()
            if line.startswith(">"):
                if name is not None:
                    yield name, "".join(parts)
                name, parts = (line[1:].split() or [""])[0], []
                if not name:
                    raise TableError(f"{path.name} line {number}: the record has no name after '>'.")
            elif line and name is None:
                fastq = starts_fastq(line)
                problem = f"this {fastq}" if fastq else "a FASTA file starts with a '>' header"
                raise TableError(f"{path.name} line {number}: {problem}.")
            else:
                parts.append(line)
    if name is None:
        raise TableError(f"{path.name} holds no FASTA record.")
    yield name, "".join(parts)


def read_fasta(path: str | Path) -> dict[str, str]:
    """Return normalised sequences by name, in file order.

    Raises
    ------
    TableError
        As `iter_fasta`, and if two records share a name.
    EmptySequenceError, AlphabetError
        For a record that cannot be used.
    """
    records: dict[str, str] = {}
    for name, sequence in iter_fasta(path):
        if name in records:
            raise TableError(f"{Path(path).name}: two records are called {name!r}. Names must be unique.")
        records[name] = normalise(sequence, f"{Path(path).name} record {name!r}")
    return records


def read_rda(path: str | Path) -> dict[str, Any]:
    """Return the objects of an R data file by name; S4 objects come as namespaces of their slots.

    Raises
    ------
    TableError
        If the file is absent or not R data.
    """
    import rdata

    path = Path(path)
    _require_file(path)
    try:
        with warnings.catch_warnings():
            # rdata warns where it has no constructor for an S4 class, which is wanted as its plain slots, and
            # where it guesses the format of a file that it then fails to read.
            warnings.simplefilter("ignore", UserWarning)
            objects = rdata.read_rda(path)
    except (ValueError, NotImplementedError, EOFError, OSError) as error:
        raise TableError(f"{path.name} cannot be read as R data: {error}.") from error
    return {str(name): value for name, value in objects.items()}


def _separator(path: Path) -> str:
    suffix = suffix_of(path)
    if suffix in _SEPARATORS:
        return _SEPARATORS[suffix]
    if suffix in FASTA:
        raise TableError(
            f"{path.name} is FASTA, which has no labels: use `glmstore embed`, or give a table with a column "
            "of labels."
        )
    if kind := kind_by_name(path):
        raise TableError(f"{path.name} {kind}.")
    raise TableError(f"{path.name}: a table is called .csv, .tsv or .txt (and .gz); rename it to say which.")


def _check_header(path: Path, header: list[str]) -> None:
    if not header:
        raise TableError(f"{path.name} is empty; a table starts with a header line.")
    if "" in header:
        raise TableError(f"{path.name} line 1: column {header.index('') + 1} has no name.")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise TableError(f"{path.name} line 1: two columns are called {twice[0]!r}.")
    if len(header) == 1 and (how := separated(header[0])):
        raise TableError(f"{path.name} line 1: {header[0]!r} seems to be separated {how}.")


def _require_file(path: Path) -> None:
    if path.is_dir():
        raise TableError(f"{path} is a folder. Name a file in it.")
    if not path.is_file():
        raise TableError(f"{path}: there is no such file.")


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a UTF-8 text file, decompressing it where its first bytes say so.

    Raises
    ------
    TableError
        If it is absent, a folder, not to be read, damaged or no text; names the file.
    """
    first = b""
    try:
        _require_file(path)
        with path.open("rb") as raw:
            first = raw.read(2)
            raw.seek(0)
            binary = gzip.GzipFile(fileobj=raw) if first == b"\x1f\x8b" else raw
            with io.TextIOWrapper(binary, encoding="utf-8-sig", newline="") as text:
                yield text
    except UnicodeDecodeError as error:
        raise TableError(f"{path.name} is not UTF-8 text. {encoding(first)}.") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TableError(f"{path.name} is a damaged gzip file: {error}.") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TableError(f"{path.name} cannot be read: {reason}.") from error
