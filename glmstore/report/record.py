"""Keep a run's summary and figures beside the tables, so that its report can be built again."""

from __future__ import annotations

import re
from pathlib import Path

from glmstore.config import Frozen
from glmstore.report.atomic import write_atomically
from glmstore.report.summary import Figure, SuiteSummary

SUMMARY = "summary.json"


class _Words(Frozen):
    """The words that go with a figure's file."""

    title: str
    caption: str


def save_figure(folder: Path, figure: Figure) -> Path:
    """Store a figure as NAME.png and its words as NAME.json, NAME made from its title; replaces an older one.

    Raises
    ------
    StoreNotWritableError
        If the folder cannot be written.
    """
    name = re.sub(r"[^a-z0-9]+", "-", figure.title.lower()).strip("-") or "figure"
    words = _Words(title=figure.title, caption=figure.caption)
    write_atomically(folder / f"{name}.json", words.model_dump_json(indent=1).encode())
    return write_atomically(folder / f"{name}.png", figure.png)


def load_figures(folder: Path) -> list[Figure]:
    """Return every figure of a folder, by file name; an empty list where there is no folder."""
    figures = []
    for png in sorted(folder.glob("*.png")):
        described = png.with_suffix(".json")
        words = _Words(title=png.stem.replace("-", " "), caption="")
        if described.exists():
            words = _Words.model_validate_json(described.read_bytes())
        figures.append(Figure(words.title, words.caption, png.read_bytes()))
    return figures


def save_summary(folder: Path, summary: SuiteSummary) -> Path:
    """Store the summary of the last run.

    Raises
    ------
    StoreNotWritableError
        If the folder cannot be written.
    """
    return write_atomically(folder / SUMMARY, summary.model_dump_json(indent=1).encode())


def load_summary(folder: Path) -> SuiteSummary | None:
    """Return the summary of the last run, or None where none was stored."""
    path = folder / SUMMARY
    return SuiteSummary.model_validate_json(path.read_bytes()) if path.exists() else None
