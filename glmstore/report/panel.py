"""The lines of a leaderboard: which row is a model's, which a control's, and which can be compared."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

if TYPE_CHECKING:
    from glmstore.store import FeatureStore

_TWIN = re.compile(r"^rand_init:(?P<model>.+):(?P<seed>\d+)$")
_MADE = re.compile(r"^(rand_init|shuf_weights):(?P<model>.+?)(:\d+)?$")
ZERO_SHOT = "variant_effect"
NO_VIEW = "-"
NO_METRIC = "-"


def twin_family(model: str) -> str | None:
    """Return ``rand_init:X`` for ``rand_init:X:k``, and None for any other name."""
    match = _TWIN.match(model)
    return f"rand_init:{match['model']}" if match else None


def made_from(control: str) -> str | None:
    """Return ``X`` for ``rand_init:X:k``, ``rand_init:X`` and ``shuf_weights:X:k``, and None for the rest.

    Read from the name: results outlive the registry entry that could say it.
    """
    match = _MADE.match(control)
    return match["model"] if match else None


def view_tail(view: str) -> str:
    """Return layer, pooling and strand of a view name: what a twin's view must share to be a fair control."""
    if view.count("/") < 4:
        return view
    _, layer, pooling, strand, _ = view.rsplit("/", 4)
    return f"{layer}/{pooling}/{strand}"


def details_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row's `details` as a mapping; an empty one where the text is not a JSON object."""
    try:
        found = json.loads(row.get("details") or "{}")
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Entry:
    """One line of a leaderboard: a result row, or the mean over the initialisations of a random twin.

    Attributes
    ----------
    row
        The ResultRow as a mapping; `model`, `view` and `seeds` already stand for the whole group.
    cells
        Keys of the cells whose predictions make up the line: several for an aggregated twin.
    """

    row: Mapping[str, Any]
    cells: tuple[str, ...]

    @property
    def identity(self) -> list[Any]:
        """What decides every number computed from the line's predictions, as JSON can hold it."""
        return [self.row["metric"], *self.cells, self.row["value"], self.row["n"], self.row["code_version"]]

    @property
    def is_model(self) -> bool:
        """Whether this is a model under test rather than a control."""
        return bool(self.row["control"] == "none")

    @property
    def ok(self) -> bool:
        """Whether every cell behind the line finished."""
        return bool(self.row["status"] == "ok")

    @property
    def better(self) -> Literal["higher", "lower"]:
        """Which way a value is good: as the metric says, or the other way for a score expected to fall."""
        from glmstore.metrics import METRICS

        metric = METRICS.get(self.row["metric"])
        rising = metric is None or metric.higher_is_better
        falls = details_of(self.row).get("expected_sign") == "negative"
        return "lower" if rising == falls else "higher"

    def rivals(self, other: Entry) -> bool:
        """Whether two lines can be compared: one benchmark, split, head, protocol and metric.

        A failed line has no metric and stands for all of them.
        """
        same = all(self.row[k] == other.row[k] for k in ("benchmark", "split", "head", "protocol"))
        metrics = {self.row["metric"], other.row["metric"]} - {NO_METRIC}
        return same and (len(metrics) == 1 or not (self.ok and other.ok))


def standing(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that stand for their line; finished ones first.

    Where one line was computed in several cells (with two seeds in a demo, with five later, under other
    settings), the one with most seeds stands, and among those the one written last; failed cells always stay.

    Parameters
    ----------
    rows
        ResultRow columns, oldest write first.
    """
    line = ["model", "view", "benchmark", "split", "head", "protocol", "metric"]
    best = (
        rows.filter(pl.col("status") == "ok")
        .sort("seeds", maintain_order=True)
        .unique(line, keep="last", maintain_order=True)
    )
    return pl.concat([best, rows.filter(pl.col("status") != "ok")])


def entries(rows: pl.DataFrame, *, expand_twins: bool = False) -> list[Entry]:
    """Turn result rows into leaderboard lines: those of :func:`standing`.

    Parameters
    ----------
    rows
        ResultRow columns, oldest write first.
    expand_twins
        Keep each initialisation of a random twin on a line of its own.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in standing(rows).to_dicts():
        groups[_group_key(row, expand_twins=expand_twins)].append(row)
    return [_merge(group, expand_twins=expand_twins) for group in groups.values()]


def _group_key(row: Mapping[str, Any], *, expand_twins: bool) -> tuple[Any, ...]:
    family = None if expand_twins or row["status"] != "ok" else twin_family(row["model"])
    contest = tuple(row[k] for k in ("benchmark", "split", "head", "protocol", "metric", "status"))
    if family is None:
        return (row["model"], row["view"], *contest, row["cell_key"])
    return (family, view_tail(row["view"]), *contest)


def _merge(group: list[dict[str, Any]], *, expand_twins: bool) -> Entry:
    cells = tuple(r["cell_key"] for r in group)
    first = group[0]
    family = None if expand_twins or first["status"] != "ok" else twin_family(first["model"])
    if family is None:
        return Entry(first, cells)
    merged = first | {
        "model": family,
        "view": first["view"].replace(first["model"], family, 1).partition("@")[0],
        "seeds": sum(r["seeds"] for r in group),
        "n": min(r["n"] for r in group),
    }
    if len(group) > 1:
        values = [r["value"] for r in group]
        merged |= {"value": None if None in values else fmean(values), "ci_low": None, "ci_high": None}
    return Entry(merged, cells)


def label_kinds(store: FeatureStore, benchmarks: Iterable[str]) -> dict[str, str]:
    """Return the label kind of each benchmark that the store knows."""
    from glmstore.errors import UnknownNameError

    kinds = {}
    for name in benchmarks:
        try:
            kinds[name] = store.benchmark_spec(name).label_kind
        except UnknownNameError:
            continue
    return {k: str(v) for k, v in kinds.items()}
