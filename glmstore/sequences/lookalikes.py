"""What text that is no nucleotide sequence looks like, and what to do about it."""

from __future__ import annotations

import re

_NUCLEOTIDES = re.compile("[ACGTUN]")
_PROTEIN = re.compile("(?=.*[EFILPQ])[ACDEFGHIKLMNPQRSTVWXY*-]{10,}")
_PLACE = re.compile(r"\S+?[\s:]\s*[\d,]+(-|\s+)[\d,]+(\s|$)")


def cure_for(text: str) -> str | None:
    """Return what to do about text that is mostly no nucleotides; None where it mostly is.

    Parameters
    ----------
    text
        One record, as the user wrote it.
    """
    text = text.strip().upper()
    if _PLACE.match(text):
        return (
            "It looks like a place in a genome (BED). Give the sequences there, for example those that "
            "`bedtools getfasta` writes"
        )
    if 2 * len(_NUCLEOTIDES.findall(text)) >= len(text) or re.fullmatch("[ACGTUNRYSWKMBDHV]*", text):
        return None
    if _PROTEIN.fullmatch(text):
        return "It looks like protein, and the models here read nucleotides"
    return "It does not look like a sequence of nucleotides. Check that this is the right file and column"
