"""The leaderboard on a terminal: one table a benchmark, models bold, controls dimmed, failures red."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from glmstore.report.contests import COMPLETE, CONTROL
from glmstore.report.differences import differences
from glmstore.report.findings import findings
from glmstore.report.text import Outcome, head_text, interval_text, minus, noise_ceiling, view_text

_STYLES: dict[Outcome, str] = {"above": "green", "below": "red", "level": ""}
_LABELS = {"twin": "Δ twin", "onehot": "Δ one-hot", "kmer": "Δ k-mers", "best": "Δ best"}


def print_leaderboard(frame: pl.DataFrame, facts: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """Print one table a benchmark and metric, then what the columns mean.

    Parameters
    ----------
    frame
        What `leaderboard` returned.
    facts
        Benchmark name -> its measured facts, for the noise ceiling.
    console
        Where to print; reads well from 80 columns on.
    """
    for renderable in _tables(frame, facts):
        console.print(renderable)
        console.print()
    console.print(Group(*_footer(frame)))


def _tables(frame: pl.DataFrame, facts: Mapping[str, Mapping[str, Any]]) -> Iterator[RenderableType]:
    said = {(finding.benchmark, finding.metric): finding for finding in findings(frame)}
    for (benchmark,), part in frame.group_by("benchmark", maintain_order=True):
        failed = part.filter(pl.col("status") != "ok")
        finished = part.filter(pl.col("status") == "ok")
        metrics = finished["metric"].unique(maintain_order=True).to_list()
        parts: list[RenderableType] = [] if metrics else [Text(str(benchmark), style="bold")]
        for metric in metrics:
            rows = finished.filter(pl.col("metric") == metric)
            ceiling = noise_ceiling(facts.get(str(benchmark), {}), metric)
            parts += [_title(str(benchmark), metric, rows, ceiling), _table(metric, rows)]
            if finding := said.get((str(benchmark), metric)):
                parts.append(
                    _note(minus(finding.words), f"bold {_STYLES[finding.shade]}" if finding.shade else "")
                )
        yield Group(*parts, *_notes(finished, failed))


def _title(benchmark: str, metric: str, rows: pl.DataFrame, ceiling: float | None) -> Text:
    first = rows.row(0, named=True)
    title = Text.assemble((benchmark, "bold"), f"  {metric}, {first['split']}, n = {first['n']:,}")
    return title if ceiling is None else title.append(f", noise ceiling {ceiling:.3f}")


def _table(metric: str, rows: pl.DataFrame) -> Table:
    """Return the rows; under a model's its differences, for beside it they would not fit a terminal.

    Names wrap where there is little room, numbers never.
    """
    table = Table(header_style="dim", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("model", "head"):
        table.add_column(name, overflow="fold")
    for name in ("view", f"{metric} [95 % CI]"):
        table.add_column(name, no_wrap=True)
    table.add_column("seeds", justify="right", no_wrap=True)
    for row in rows.iter_rows(named=True):
        table.add_row(*_cells(row), style="" if row["control"] == "none" else "dim")
    return table


def _notes(finished: pl.DataFrame, failed: pl.DataFrame) -> Iterator[RenderableType]:
    for row in failed.iter_rows(named=True):
        yield _note(f"failed: {_who(row)}: {row['error']}", "red")
    for row in finished.unique(
        ["model", "view", "head", "protocol", "controls"], maintain_order=True
    ).iter_rows(named=True):
        if row["controls"] not in {COMPLETE, CONTROL}:
            yield _note(f"{_who(row)}: controls {row['controls']}", "yellow")


def _note(words: str, style: str) -> Padding:
    return Padding(Text(words, style=style), (0, 0, 0, 2), expand=False)


def _who(row: Mapping[str, Any]) -> str:
    head = head_text(row["head"], row["protocol"])
    return f"{row['model']} with {head}" + ("" if row["view"] == "-" else f" on {view_text(row['view'])}")


def _cells(row: Mapping[str, Any]) -> list[RenderableType]:
    is_model = row["control"] == "none"
    mark = "†" if row["pretraining_overlap"] in {"possible", "yes"} else ""
    labels, numbers = Text(view_text(row["view"])), Text()
    numbers.append(minus(interval_text(row["value"], row["ci_low"], row["ci_high"])))
    for name, found in differences(row).items():
        labels.append(f"\n{_LABELS[name]}", style="dim")
        numbers.append(f"\n{minus(found.text)}", style=_STYLES[found.shade])
    return [
        Text(f"▸ {row['model']}{mark}" if is_model else row["model"], style="bold" if is_model else ""),
        Text(head_text(row["head"], row["protocol"])),
        labels,
        numbers,
        str(row["seeds"]),
    ]


def _footer(frame: pl.DataFrame) -> Iterator[Text]:
    seeds = sorted(set(frame.filter((pl.col("status") == "ok") & (pl.col("control") == "none"))["seeds"]))
    mean = f"Models: mean over {' or '.join(map(str, seeds))} probe seed{'' if seeds == [1] else 's'}"
    yield Text(
        "▸: models; others: controls. [95 % CI]: bootstrap over test clusters and probe seeds. Δ: model less "
        "its random twin, one-hot or k-mers under the same head; Δ best: less the best sequence control "
        "(one-hot, k-mers, …) under any head, paired. Red: the model is worse; green: it is better, and "
        "better than the best sequence control too. The best of several is chosen on the test items, which "
        "flatters it; intervals know nothing of that, and are not corrected for the number of comparisons. "
        f"{mean if seeds else 'No model has a result here'}; random twins: mean over initialisations × probe "
        "seeds.",
        style="dim",
    )
    if set(frame["pretraining_overlap"]) & {"possible", "yes"}:
        yield Text("† pretraining has seen, or may have seen, the test sequences.", style="dim")
