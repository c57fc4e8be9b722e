"""The leaderboard on a terminal: one table a benchmark, models bold, controls dimmed, failures red."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from glmstore.report.contests import COMPLETE, CONTROL
from glmstore.report.text import head_text, interval_text, noise_ceiling, outcome, view_text


def print_leaderboard(frame: pl.DataFrame, facts: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """Print one table a benchmark and metric, then what the columns mean.

    Parameters
    ----------
    frame
        What `leaderboard` returned.
    facts
        Benchmark name -> its measured facts, for the noise ceiling.
    console
        Where to print; reads well at 100 columns.
    """
    for renderable in _tables(frame, facts):
        console.print(renderable)
        console.print()
    console.print(Group(*_footer(frame)))


def _tables(frame: pl.DataFrame, facts: Mapping[str, Mapping[str, Any]]) -> Iterator[RenderableType]:
    for (benchmark,), part in frame.group_by("benchmark", maintain_order=True):
        failed = part.filter(pl.col("status") != "ok")
        finished = part.filter(pl.col("status") == "ok")
        metrics = finished["metric"].unique(maintain_order=True).to_list()
        tables: list[RenderableType] = [] if metrics else [Text(str(benchmark), style="bold")]
        for metric in metrics:
            ceiling = noise_ceiling(facts.get(str(benchmark), {}), metric)
            tables.append(
                _table(str(benchmark), metric, finished.filter(pl.col("metric") == metric), ceiling)
            )
        yield Group(*tables, *_notes(finished, failed))


def _table(benchmark: str, metric: str, rows: pl.DataFrame, ceiling: float | None) -> Table:
    first = rows.row(0, named=True)
    title = Text.assemble((benchmark, "bold"), f"  {metric}, {first['split']}, n = {first['n']:,}")
    if ceiling is not None:
        title.append(f", noise ceiling {ceiling:.3f}")
    table = Table(
        title=title, title_justify="left", title_style="", header_style="dim", box=None, padding=(0, 1, 0, 0)
    )
    for name in ("model", "head", "view", f"{metric} [95 % CI]"):
        table.add_column(name, no_wrap=name != "head")
    for name in ("Δ random twin", "Δ one-hot"):
        table.add_column(name)
    table.add_column("seeds", justify="right")
    for row in rows.iter_rows(named=True):
        table.add_row(*_cells(row), style="" if row["control"] == "none" else "dim")
    return table


def _notes(finished: pl.DataFrame, failed: pl.DataFrame) -> Iterator[Text]:
    for row in failed.iter_rows(named=True):
        yield Text(f"  failed: {_who(row)}: {row['error']}", style="red")
    for row in finished.unique(
        ["model", "view", "head", "protocol", "controls"], maintain_order=True
    ).iter_rows(named=True):
        if row["controls"] not in {COMPLETE, CONTROL}:
            yield Text(f"  {_who(row)}: controls {row['controls']}", style="yellow")


def _who(row: Mapping[str, Any]) -> str:
    head = head_text(row["head"], row["protocol"])
    return f"{row['model']} with {head}" + ("" if row["view"] == "-" else f" on {view_text(row['view'])}")


def _cells(row: Mapping[str, Any]) -> list[RenderableType]:
    is_model = row["control"] == "none"
    mark = "†" if row["pretraining_overlap"] in {"possible", "yes"} else ""
    return [
        Text(f"▸ {row['model']}{mark}" if is_model else row["model"], style="bold" if is_model else ""),
        Text(head_text(row["head"], row["protocol"])),
        Text(view_text(row["view"])),
        Text(interval_text(row["value"], row["ci_low"], row["ci_high"])),
        *(_delta(row, name) for name in ("twin", "onehot")),
        str(row["seeds"]),
    ]


def _delta(row: Mapping[str, Any], name: str) -> Text:
    value, low, high = (row[f"delta_vs_{name}{suffix}"] for suffix in ("", "_low", "_high"))
    side = "level" if low is None else outcome(low, high, row["better"])
    style = {"above": "green", "below": "red", "level": ""}[side]
    return Text(interval_text(value, low, high, signed=True), style=style)


def _footer(frame: pl.DataFrame) -> Iterator[Text]:
    seeds = sorted(set(frame.filter((pl.col("status") == "ok") & (pl.col("control") == "none"))["seeds"]))
    mean = f"Models: mean over {' or '.join(map(str, seeds))} probe seed{'' if seeds == [1] else 's'}"
    yield Text(
        "▸: models; others: controls. [95 % CI]: bootstrap over test clusters and probe seeds. Δ: model less "
        "control under the same head, paired; green where the model is better, red where it is worse; not "
        "corrected for the number of comparisons. "
        f"{mean if seeds else 'No model has a result here'}; random twins: mean over initialisations × "
        "probe seeds.",
        style="dim",
    )
    if set(frame["pretraining_overlap"]) & {"possible", "yes"}:
        yield Text("† pretraining has seen, or may have seen, the test sequences.", style="dim")
