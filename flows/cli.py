"""The `glmstore` command: the library's commands, and those that start flows."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from glmstore.cli import main_app, run_cli
from glmstore.cli.console import emit_json, to_stderr
from glmstore.cli.options import Json, Store, help_text, store_uri
from glmstore.config import Settings

if TYPE_CHECKING:
    from glmstore.benchmarks.base import Benchmark
    from glmstore.benchmarks.suites import Suite

RUN_HELP = """Run a suite, a benchmark, or a table of your own: embed, train, judge beside controls, report.

What the store holds already is not computed again.

  glmstore run demo
  glmstore run demo --dry-run
  glmstore run full --model gpn-mini
  glmstore run sortseq_lac --seeds 5
  glmstore run my.csv --sequence seq --label activity
  glmstore run cells.csv --sequence seq --label HepG2 --name hepg2
  glmstore run my.csv -m gpn-mini -m shuf_weights:gpn-mini:0 -m rand_proj:96:0
"""

TABLE_ONLY = ("sequence", "label", "split", "name")
"""Options that say how a table is read."""


def run(
    ctx: typer.Context,
    target: Annotated[
        str, typer.Argument(metavar="SUITE|BENCHMARK|FILE", help="demo, full, a benchmark, or a CSV/TSV.")
    ],
    sequence: Annotated[str, typer.Option(help="Column of sequences, for a table.")] = "sequence",
    label: Annotated[str, typer.Option(help="Column of labels, for a table.")] = "label",
    name: Annotated[
        str | None, typer.Option(help="What a table is called in results.", show_default="its file's name")
    ] = None,
    split: Annotated[
        str, typer.Option(help="For a table: a column of train/valid/test, 'hash' (80/10/10) or 'homology'.")
    ] = "hash",
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Model under test, or a further control; may be repeated."),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Probe seeds and random twins, for a benchmark or table.")
    ] = 3,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Compute again what the store holds of this.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be computed and stored, and do none of it.")
    ] = False,
    runner: Annotated[
        str | None,
        typer.Option(
            metavar="RUNNER",
            help="Where tasks run: threads here, or dask://HOST:PORT of a cluster that is running.",
            show_default="GLMSTORE_RUNNER, else threads",
        ),
    ] = None,
    store: Store = None,
    json: Json = False,
) -> None:
    """Run; RUN_HELP is what users read."""
    from glmstore.cli.suites import find_suite, register_own, require_runnable, show_outcome

    uri = store_uri(store)
    suite, own = find_suite(
        target,
        uri,
        models=tuple(model or ()),
        sequence=sequence,
        label=label,
        split=split,
        seeds=seeds,
        name=name,
    )
    _refuse_unread(ctx, target, is_table=own is not None)
    if dry_run:
        _foresee(suite, own, uri, force=force, json=json)
        return
    require_runnable(suite)
    runner = _reachable(runner if runner is not None else Settings().runner)
    if own is not None:
        register_own(own, uri)
    failed = _start(suite, uri, force=force, runner=runner)
    show_outcome(uri, suite, json=json)
    if failed:
        raise failed


def _refuse_unread(ctx: typer.Context, target: str, *, is_table: bool) -> None:
    """Refuse options that are of no use for this target, rather than leave them unread."""
    from glmstore.benchmarks.suites import SUITES

    unread = {} if is_table else dict.fromkeys(TABLE_ONLY, f"{target} is no table, and only one is read so.")
    if target in SUITES:
        unread["seeds"] = f"the suite {target} has its own number of them."
    for option, why in unread.items():
        source = ctx.get_parameter_source(option)
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(why, param_hint=f"--{option}")


def _foresee(suite: Suite, own: Benchmark | None, uri: str, *, force: bool, json: bool) -> None:
    """Show what a run would do; needs no Prefect server."""
    from glmstore.cli.plan import as_json, show_plan, timing_shown
    from glmstore.estimating import suite_dry_run

    with timing_shown() as announce:
        found = suite_dry_run(uri, suite, force=force, own=[own] if own else [], announce=announce)
    if json:
        emit_json(as_json(found))
    else:
        show_plan(found)


def _reachable(runner: str) -> str:
    """Return the runner, refused by name where no task could run on it."""
    _prepare_prefect()
    from flows.runners import require_runner

    require_runner(runner)
    return runner


def _start(suite: Suite, uri: str, *, force: bool, runner: str) -> Exception | None:
    _prepare_prefect()
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _interrupt)
    from flows.outcomes import WorkFailedError
    from flows.run_suite import RunSuiteConfig, run_suite
    from flows.temporary_server import prefect_server
    from glmstore.cli.suites import shown_progress

    try:
        with prefect_server(), shown_progress():
            asked = shlex.join(["glmstore", *sys.argv[1:]])
            run_suite(RunSuiteConfig(store=uri, suite=suite, force=force, runner=runner, command=asked))
    except WorkFailedError as error:
        return error
    return None


def _leave(number: int, frame: object) -> None:  # noqa: ARG001  (a signal handler's signature)
    """Exit in order, so that the server which was started for this run is stopped with it."""
    sys.exit(128 + number)


def _interrupt(number: int, frame: object) -> NoReturn:  # noqa: ARG001  (a signal handler's signature)
    """Stop after the pieces that are being computed; at the second time, at once."""
    signal.signal(signal.SIGINT, _quit)
    to_stderr(
        "interrupted: stops when what is being computed is stored; Ctrl-C again stops at once. "
        "The same command computes the rest.",
        style="yellow",
    )
    raise KeyboardInterrupt


def _quit(number: int, frame: object) -> NoReturn:  # noqa: ARG001  (a signal handler's signature)
    Console(stderr=True).show_cursor()  # the bars have hidden it
    os._exit(130)


def _prepare_prefect() -> None:
    """Send no telemetry; show the library's log in the Prefect UI, and Prefect's own not on the terminal."""
    defaults = {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "glmstore",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def main() -> None:
    """Run the command line and exit."""
    app = main_app()
    app.command("run", help=help_text(RUN_HELP))(run)
    sys.exit(run_cli(app))
