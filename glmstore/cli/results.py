"""`glmstore leaderboard`, `report` and `migrate`: what came out, and keeping a store readable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glmstore.cli.console import emit_json, stdout, to_stderr, to_stdout
from glmstore.cli.options import Json, Store, help_text, open_existing, store_uri

if TYPE_CHECKING:
    from glmstore.store import FeatureStore

NO_RESULTS = "The store holds no results yet. Run `make demo`, or `glmstore run SUITE`."
LEADERBOARD_HELP = """Show every result beside its controls, with 95 % intervals and paired differences.

A model's number never stands alone: its differences to its controls stand under it, and a sentence says
whether the best model beats the best control of the sequence alone. Failed cells stay in.

  glmstore leaderboard
  glmstore leaderboard --benchmark sortseq_lac --all-metrics
  glmstore leaderboard --json > results.json
"""
MIGRATE_HELP = """Bring a store that an older glmstore wrote up to this version's tables; safe to repeat.

  glmstore migrate --store ./old-store
"""
REPORT_HELP = """Write the HTML report of everything the store holds: one file that needs no network.

  glmstore report --out report.html
"""


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command("leaderboard", help=help_text(LEADERBOARD_HELP))(show_leaderboard)
    app.command("report", help=help_text(REPORT_HELP))(report)
    app.command("migrate", help=help_text(MIGRATE_HELP))(migrate)


def show_leaderboard(
    benchmark: Annotated[str | None, typer.Option("--benchmark", "-b", help="Only this benchmark.")] = None,
    metric: Annotated[str | None, typer.Option("--metric", help="Only this metric.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Only this model and its controls.")
    ] = None,
    all_metrics: Annotated[
        bool, typer.Option("--all-metrics", help="Every metric, not only the first.")
    ] = False,
    expand_twins: Annotated[
        bool, typer.Option("--expand-twins", help="A line for each initialisation of a random twin.")
    ] = False,
    store: Store = None,
    json: Json = False,
) -> None:
    """Show the leaderboard; LEADERBOARD_HELP is what users read."""
    from glmstore.report.leaderboard import leaderboard
    from glmstore.report.terminal import print_leaderboard

    opened = open_existing(store)
    board = leaderboard(
        opened,
        benchmark=benchmark,
        metric=metric,
        model=model,
        all_metrics=all_metrics,
        expand_twins=expand_twins,
    )
    if json:
        emit_json(board.to_dicts())
    elif board.is_empty():
        to_stderr(NO_RESULTS, style="yellow")
    else:
        print_leaderboard(board, _facts(opened), stdout())


def _facts(store: FeatureStore) -> dict[str, dict[str, Any]]:
    return {name: dict(store.benchmark_facts(name)) for name in store.benchmarks()["name"]}


def report(
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write.", show_default="report.html beside the store"),
    ] = None,
    store: Store = None,
) -> None:
    """Write the report; REPORT_HELP is what users read."""
    from glmstore.report.publish import republish

    published = republish(open_existing(store), out)
    if not published.rows:
        to_stderr(NO_RESULTS, style="yellow")
    to_stdout(str(published.path))


def migrate(store: Store = None) -> None:
    """Migrate a store; MIGRATE_HELP is what users read."""
    found = open_existing(store).migrate()
    held = open_existing(store).check().schema_version
    words = f"was at layout {held} already" if found == held else f"went from layout {found} to {held}"
    to_stdout(f"{store_uri(store)} {words}.")
