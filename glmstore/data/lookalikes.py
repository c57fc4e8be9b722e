"""What a file that cannot be read looks like, and what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FASTA = (".fa", ".fasta", ".fna", ".ffn")
_FASTQ = "is FASTQ: convert it to FASTA, for example with `seqtk seq -a`"
_PLACES = "holds places in a genome: give the sequences there, for example those `bedtools getfasta` writes"
_SHEET = "is a spreadsheet: export the sheet as CSV, in UTF-8"
_OTHERS = {
    **dict.fromkeys((".fastq", ".fq"), _FASTQ),
    **dict.fromkeys((".bed", ".gff", ".gff3", ".gtf", ".vcf"), _PLACES),
    **dict.fromkeys((".xlsx", ".xlsm", ".xls", ".ods"), _SHEET),
    ".parquet": "is Parquet: write it as CSV",
}
_SEPARATED = {
    ";": "by semicolons: save it with commas between the fields, and with points in decimals",
    "\t": "by tabs: call it .tsv",
    ",": "by commas: call it .csv",
}
_FIRST_BYTES = {
    b"\xff\xfe": "It is UTF-16: save it as CSV UTF-8",
    b"\xfe\xff": "It is UTF-16: save it as CSV UTF-8",
    b"PK": "It is a zip archive, as spreadsheets are: export the sheet as CSV, in UTF-8",
}
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_WORD = re.compile(r"(?!(na|nan|n/a|null|none|inf|infinity)$)[^\W\d].*", re.IGNORECASE | re.DOTALL)


def suffix_of(path: Path) -> str:
    """Return the last suffix in lower case, apart from ``.gz``; empty where there is none."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    return suffixes[-1] if suffixes else ""


def kind_by_name(path: Path) -> str | None:
    """Return what a file is by its suffix where that is no kind that can be read, and what to do about it."""
    return _OTHERS.get(suffix_of(path))


def separated(header: str) -> str | None:
    """Return how the header of a table that seems to have one column is separated; None where it is not."""
    return next((how for separator, how in _SEPARATED.items() if separator in header), None)


def encoding(first: bytes) -> str:
    """Return what to do about a file that is not UTF-8, going by its first two bytes."""
    return _FIRST_BYTES.get(first, "Save it as UTF-8, which spreadsheets call CSV UTF-8")


def cure_for_number(text: str, *, mostly: bool) -> str:
    """Return what to do about a field that is no finite number, as most fields of its column may be."""
    if _DECIMAL_COMMA.fullmatch(text):
        return "Write decimals with a point"
    if mostly and _WORD.fullmatch(text):
        return "Labels are numbers: use 0 and 1 for two classes"
    return "Correct or remove the row"


def starts_fastq(line: str) -> str | None:
    """Return what to do about a file with this first line where it is one of FASTQ."""
    return _FASTQ if line.startswith("@") else None
