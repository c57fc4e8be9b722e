"""The command line, run in this process on a store of this test's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from glmstore.cli import main_app

Invoke = Callable[..., Any]


@pytest.fixture
def glmstore() -> Invoke:
    """Return a function that runs one command; the result has exit_code, stdout and stderr."""
    app, runner = main_app(), CliRunner()

    def run(*arguments: object) -> Any:
        result = runner.invoke(app, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def store() -> Path:
    """Return the place of the default store, where nothing is yet."""
    return Path(os.environ["GLMSTORE_STORE"])


@pytest.fixture
def refused(glmstore: Invoke, store: Path) -> Invoke:
    """Return a function that runs a command which must fail on its input, write nothing, and say why."""

    def run(*arguments: object) -> str:
        before = sorted(p for p in store.parent.rglob("*") if store in {p, *p.parents})
        result = glmstore(*arguments)
        assert result.exit_code == 2, result.output
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        lines = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        assert sorted(p for p in store.parent.rglob("*") if store in {p, *p.parents}) == before
        return lines[0]

    return run


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    """Return a FASTA file of three records, two of them one sequence."""
    path = tmp_path / "three.fa"
    path.write_text(">one\nACGTACGTAC\n>two\nGGGTTT\nCCC\n>again\nACGTACGTAC\n")
    return path
