"""Where words go: results to stdout, everything about them to stderr."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from glmstore.logs import LIBRARY, is_json

PIPE_WIDTH = 132
_MISSING = "–"
_LEVELS = {"red": logging.ERROR, "yellow": logging.WARNING}


def stdout() -> Console:
    """Return a console on stdout; as wide as the terminal, or `PIPE_WIDTH` where there is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def to_stderr(message: str, *, style: str = "") -> None:
    """Print words about the work, unwrapped, so that a message stays one line in a log.

    Where the log goes out as JSON they are lines of it, as errors, warnings or information by their style.
    """
    if is_json():
        level = _LEVELS.get(style.split()[-1] if style else "", logging.INFO)
        LIBRARY.log(level, message.removeprefix("error: ").removeprefix("note: "))
        return
    Console(stderr=True, highlight=False).print(Text(message, style=style), soft_wrap=True)


def to_stdout(message: str) -> None:
    """Print a plain line of results."""
    typer.echo(message)


def emit_json(value: Any) -> None:
    """Print a value as JSON that every parser takes: what is not finite becomes null."""
    typer.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False, default=str, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None) -> None:
    """Print rows under headings; columns of numbers (and blanks) to the right, None as a dash."""
    table = Table(
        title=title,
        title_justify="left",
        header_style="dim",
        box=None,
        pad_edge=False,
        show_header=any(columns),
    )
    for i, name in enumerate(columns):
        cells = [row[i] for row in rows if row[i] is None or isinstance(row[i], int | float) or len(row[i])]
        numeric = bool(cells) and all(cell is None or isinstance(cell, int | float) for cell in cells)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    stdout().print(table)


def _cell(value: Any) -> Text:
    if value is None:
        return Text(_MISSING, style="dim")
    if isinstance(value, Text):
        return value
    return Text(f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))


@contextmanager
def progress(what: str, unit: str = "", *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr while the block runs, if stderr is a terminal.

    Parameters
    ----------
    what
        What is being done.
    unit
        What is counted; "bytes" shows sizes and speed.
    quiet
        Show nothing.

    Yields
    ------
    Callable
        ``advance(done, total)``, to be called as the work goes on.
    """
    from rich import progress as bars

    columns: list[bars.ProgressColumn] = [bars.TextColumn("{task.description}"), bars.BarColumn()]
    if unit == "bytes":
        columns += [bars.DownloadColumn(), bars.TransferSpeedColumn()]
    else:
        columns += [bars.MofNCompleteColumn(), bars.TextColumn(unit)]
    columns.append(bars.TimeRemainingColumn())
    console = Console(stderr=True)
    with bars.Progress(
        *columns, console=console, transient=True, disable=quiet or is_json() or not console.is_terminal
    ) as bar:
        task = bar.add_task(what, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance


class WarningLines(logging.Handler):
    """What the library wants said goes to stderr as ``note: …``, so that stdout stays fit for pipes."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        to_stderr(f"note: {record.getMessage()}", style="yellow")
