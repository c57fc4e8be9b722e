"""Keep a run's summary and figures beside the tables, so that its report can be built again."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from glmstore.config import Frozen
from glmstore.objects import open_objects
from glmstore.objects.places import Place, below
from glmstore.report.atomic import write_atomically
from glmstore.report.summary import Figure, SuiteSummary

SUMMARY = "summary.json"


class _Words(Frozen):
    """The words that go with a figure's file."""

    title: str
    caption: str


def save_figure(folder: Place, figure: Figure) -> Place:
    """Store a figure as NAME.png and its words as NAME.json, NAME made from its title; replaces an older one.

    Raises
    ------
    StoreNotWritableError
        If the folder cannot be written.
    """
    name = re.sub(r"[^a-z0-9]+", "-", figure.title.lower()).strip("-") or "figure"
    words = _Words(title=figure.title, caption=figure.caption)
    write_atomically(below(folder, f"{name}.json"), words.model_dump_json(indent=1).encode())
    return write_atomically(below(folder, f"{name}.png"), figure.png)


def load_figures(folder: Place) -> list[Figure]:
    """Return every figure of a folder, by file name; an empty list where there is no folder."""
    objects, figures = open_objects(folder), []
    for name in objects.names():
        png = objects.get(name) if name.endswith(".png") else None
        if png is None:
            continue
        stem = PurePosixPath(name).stem
        described = objects.get(f"{stem}.json")
        words = _Words(title=stem.replace("-", " "), caption="")
        if described is not None:
            words = _Words.model_validate_json(described)
        figures.append(Figure(words.title, words.caption, png))
    return figures


def save_summary(folder: Place, summary: SuiteSummary) -> Place:
    """Store the summary of the last run.

    Raises
    ------
    StoreNotWritableError
        If the folder cannot be written.
    """
    return write_atomically(below(folder, SUMMARY), summary.model_dump_json(indent=1).encode())


def load_summary(folder: Place) -> SuiteSummary | None:
    """Return the summary of the last run, or None where none was stored."""
    stored = open_objects(folder).get(SUMMARY)
    return None if stored is None else SuiteSummary.model_validate_json(stored)
