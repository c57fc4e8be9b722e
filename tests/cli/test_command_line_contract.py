from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from glmstore import __version__
from glmstore.cli import main_app, run_cli
from glmstore.errors import GlmstoreError

Invoke = Callable[..., Any]
COMMANDS = [
    [],
    *(["data", c] for c in ("list", "pull", "check")),
    *(["models", c] for c in ("list", "show")),
    *(["benchmarks", c] for c in ("list", "show")),
    *([c] for c in ("embed", "get", "views", "similar", "leaderboard", "report", "migrate", "doctor")),
]
RUN = "import sys; from glmstore.cli import main_app, run_cli; sys.exit(run_cli(main_app()))"
HEAVY = ("torch", "transformers", "lancedb", "lance", "prefect", "matplotlib", "polars", "pyarrow", "numpy")


def process(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
        timeout=240,
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(glmstore: Invoke, command: list[str]) -> None:
    result = glmstore(*command, "--help")
    assert result.exit_code == 0
    assert f"Usage: glmstore {' '.join(command)}".rstrip() in " ".join(result.stdout.split())


@pytest.mark.parametrize("command", [c for c in COMMANDS if len(c) == 1], ids=" ".join)
def test_commands_on_a_store_take_store_and_show_an_example(glmstore: Invoke, command: list[str]) -> None:
    explained = glmstore(*command, "--help").stdout.partition("Usage:")[2].partition("\n")[2]
    assert "--store" in explained
    assert f"glmstore {command[0]}" in explained


def test_the_version_is_printed(glmstore: Invoke) -> None:
    assert glmstore("--version").stdout == f"glmstore {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["models", "nonsense"], ["views", "--colour"], ["data", "pull"]]
)
def test_usage_errors_exit_with_2(glmstore: Invoke, arguments: list[str]) -> None:
    result = glmstore(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""


@pytest.mark.parametrize(
    "command",
    [
        ["views"],
        ["leaderboard"],
        ["report"],
        ["migrate"],
        ["get", "ACGT", "--view", "kmer1"],
        ["similar", "ACGT", "--view", "kmer1"],
    ],
    ids=lambda c: c[0],
)
def test_reading_a_store_that_is_not_there_tells_how_to_make_one(
    refused: Invoke, store: Path, command: list[str]
) -> None:
    said = refused(*command)
    assert str(store) in said
    assert "make demo" in said
    assert "glmstore embed" in said
    assert not store.exists()


def test_a_store_of_a_newer_version_is_refused_by_every_command(
    glmstore: Invoke, refused: Invoke, fasta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import glmstore.store.migrations as migrations
    import glmstore.store.opening as opening

    with monkeypatch.context() as future:
        future.setattr(opening, "SCHEMA_VERSION", 99)
        future.setattr(migrations, "SCHEMA_VERSION", 99)
        assert glmstore("embed", fasta, "--model", "kmer1").exit_code == 0
    for command in (["views"], ["leaderboard"], ["embed", fasta, "--model", "kmer1"], ["migrate"]):
        assert "a newer glmstore wrote it" in refused(*command)


def test_an_error_in_a_process_of_its_own_is_one_line_and_exit_code_2() -> None:
    done = process("models", "show", "gpn-mni")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: no model is called 'gpn-mni'. Did you mean gpn-mini")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(("arguments", "environment"), [(["--debug"], {}), ([], {"GLMSTORE_DEBUG": "1"})])
def test_the_traceback_is_shown_when_asked_for(arguments: list[str], environment: dict[str, str]) -> None:
    done = process(*arguments, "models", "show", "gpn-mni", **environment)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "UnknownNameError" in done.stderr


def test_an_empty_setting_is_an_error_and_not_a_default() -> None:
    done = process("views", GLMSTORE_STORE="")
    assert done.returncode == 2
    assert done.stderr.startswith("error: GLMSTORE_STORE: ")


def test_json_survives_a_pipe_without_words_in_between() -> None:
    done = process("models", "list", "--json")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "gpn-mini" in [m["name"] for m in json.loads(done.stdout)["models"]]


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from glmstore.cli import main_app, run_cli\n"
        f"assert run_cli(main_app(), ['--help']) == 0\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=180
    )
    assert done.stderr.strip() == "[]"


def test_run_cli_returns_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(main_app(), ["--version"]) == 0
    assert run_cli(main_app(), ["models", "show", "nothing-like-it"]) == 2
    assert run_cli(main_app(), ["--nonsense"]) == 2
    capsys.readouterr()


def test_commands_added_by_others_report_errors_alike(capsys: pytest.CaptureFixture[str]) -> None:
    class WorkFailedError(GlmstoreError):
        exit_code = 1

    app = main_app()

    @app.command("run")
    def run(what: str) -> None:
        if what == "input":
            raise GlmstoreError("[bold]the input[/bold] is wrong")
        if what == "work":
            raise WorkFailedError("3 of 9 failed\n  cell: why")
        raise typer.Exit(3)

    assert run_cli(app, ["run", "input"]) == 2
    assert capsys.readouterr().err == "error: [bold]the input[/bold] is wrong\n"
    assert run_cli(app, ["run", "work"]) == 1
    assert capsys.readouterr().err == "error: 3 of 9 failed\n  cell: why\n"
    assert run_cli(app, ["run", "else"]) == 3


def test_two_applications_do_not_share_commands() -> None:
    first, second = main_app(), main_app()
    first.command("run")(lambda: None)
    assert len(first.registered_commands) == len(second.registered_commands) + 1
