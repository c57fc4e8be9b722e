"""Run every bench of this folder, print one table, write build/bench.json."""

from __future__ import annotations

import json
import pkgutil
import sys
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from infra.bench.harness import BenchRow

HERE = Path(__file__).parent
OUT = Path("build/bench.json")


def main(only: list[str]) -> int:
    """Run the benches named, or all; return 1 when a target was missed."""
    rows: list[BenchRow] = []
    for info in pkgutil.iter_modules([str(HERE)]):
        if info.name in {"harness", "shapes", "__main__"} or (only and info.name not in only):
            continue
        Console(stderr=True).print(f"[dim]{info.name} …[/dim]")
        rows += import_module(f"infra.bench.{info.name}").measure()
    table = Table(title="glmstore bench: ratios measured side by side in this run")
    for column, justify in (
        ("what", "left"),
        ("value", "right"),
        ("unit", "left"),
        ("target", "left"),
        ("ok", "left"),
        ("note", "left"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        verdict = {True: "[green]yes[/green]", False: "[red]no[/red]", None: "–"}[row.ok]
        table.add_row(
            row.name, "–" if row.value is None else f"{row.value:g}", row.unit, row.target, verdict, row.note
        )
    console = Console()
    (console if console.is_terminal else Console(width=150)).print(table)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps([row.as_dict() for row in rows], indent=2) + "\n")
    return int(any(row.ok is False for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
