"""Put the command line together and turn errors into one line and an exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from glmstore.cli import benchmarks, data, doctor, embed, features, models, plan, results, search
from glmstore.cli.console import WarningLines, to_stderr
from glmstore.cli.options import help_text
from glmstore.config import Settings
from glmstore.errors import GlmstoreError
from glmstore.exporting import push_metrics
from glmstore.logs import json_wanted, log_as_json

HELP = """
Embeddings of genomic language models: stored once, judged beside their controls.

[bold]Start here[/bold]

  make demo                               the whole job on real data
  glmstore leaderboard                    what it found
  glmstore embed my.fa --model gpn-mini   embed your own sequences
  glmstore get my.fa --view gpn-mini      read the embeddings back

Every command takes [bold]--help[/bold]. Those that read or write a store take [bold]--store[/bold]; without
it they use the one of GLMSTORE_STORE, else ./.glmstore/store, which is also the one `make demo` fills.

Exit codes: 0 done; 1 something failed or is broken; 2 a mistake in the command or its input, and nothing was
written.
"""

_LANCE = "LanceError"
"""In the message of every error that comes from below the store."""


class ErrorLines(TyperGroup):
    """A command group whose own errors end as ``error: …`` on stderr, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command; see `main_app` for the exit codes."""
        try:
            return super().invoke(ctx)
        except (GlmstoreError, ValidationError) as error:
            if ctx.params.get("debug") or _debugging():
                raise
            for line in error_lines(error):
                to_stderr(f"error: {line}", style="red")
            raise typer.Exit(getattr(error, "exit_code", 2)) from error
        except (OSError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else ""
            if _LANCE not in reason or ctx.params.get("debug") or _debugging():
                raise
            to_stderr(
                f"error: the store cannot be read or written ({reason}). `glmstore doctor` tells which of "
                f"its tables are damaged.",
                style="red",
            )
            raise typer.Exit(1) from error


def error_lines(error: GlmstoreError | ValidationError) -> list[str]:
    """Return what to tell the user: the message, or a line for each setting that is not valid."""
    if isinstance(error, GlmstoreError):
        return [str(error)]
    settings = error.title == Settings.__name__
    return [
        f"{('GLMSTORE_' if settings else '') + '.'.join(map(str, e['loc'])).upper()}: {e['msg']}"
        if settings
        else f"{'.'.join(map(str, e['loc']))}: {e['msg']}"
        for e in error.errors()
    ]


def _debugging() -> bool:
    try:
        return Settings().debug
    except ValidationError:
        return False


def main_app() -> typer.Typer:
    """Return the command line as a new Typer application, to run or to add commands to.

    User errors (GlmstoreError, invalid settings) print ``error: …`` on stderr and exit with 2, or with the
    code that the error class carries.
    """
    app = typer.Typer(
        name="glmstore",
        cls=ErrorLines,
        help=help_text(HELP),
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    app.add_typer(data.app, name="data")
    app.add_typer(models.app, name="models")
    app.add_typer(benchmarks.app, name="benchmarks")
    plan.add_to(app)
    embed.add_to(app)
    features.add_to(app)
    search.add_to(app)
    results.add_to(app)
    doctor.add_to(app)
    return app


def _version(asked: bool) -> None:
    if asked:
        from glmstore import __version__

        typer.echo(f"glmstore {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[  # noqa: ARG001  (its callback acts)
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[  # noqa: ARG001  (read by ErrorLines)
        bool, typer.Option("--debug", help="Show tracebacks of errors; also GLMSTORE_DEBUG=1.")
    ] = False,
) -> None:
    push_metrics()
    if json_wanted():
        log_as_json()
        return
    log = logging.getLogger("glmstore")
    if not any(isinstance(h, WarningLines) for h in log.handlers):
        log.addHandler(WarningLines(logging.WARNING))


def run_cli(app: typer.Typer, argv: Sequence[str] | None = None) -> int:
    """Run `app` and return its exit code.

    Parameters
    ----------
    app
        `main_app()`, with or without further commands.
    argv
        Arguments without the program's name; those of this process when not given.
    """
    try:
        app(list(sys.argv[1:] if argv is None else argv), prog_name="glmstore")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    return 0
