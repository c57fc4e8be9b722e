"""Models and controls that `glmstore run` is given become a suite in which each stands once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import run
from glmstore.benchmarks.base import Benchmark
from glmstore.benchmarks.suites import Suite, get_suite, panel, with_twins
from glmstore.cli import main_app
from glmstore.cli.suites import find_suite, register_own, require_runnable
from glmstore.errors import (
    DuplicateNameError,
    ModelUnavailableError,
    ShapeError,
    TableError,
    UnknownNameError,
    WeightsError,
)
from glmstore.models import MODELS
from glmstore.planning import resolve_view
from glmstore.store import FeatureStore

CONTROLS = ("rand_proj:96:0", "shuf_weights:gpn-mini:0", "rand_vec:96:0", "onehot", "kmer6", "kmer4")
Asked = Callable[..., Suite]


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    """Return a function that makes the suite of a table of 64 sequences, of one length or of two."""

    def suite(*models: str, uneven: bool = False, seeds: int = 2) -> Suite:
        path = tmp_path / "my.csv"
        sequences = ["".join(letters) for letters in product("ACGT", repeat=3)]
        rows = [f"{sequence}{'A' * (uneven and i % 2)},{i}" for i, sequence in enumerate(sequences)]
        path.write_text("sequence,label\n" + "\n".join(rows))
        found, _ = find_suite(
            str(path),
            str(tmp_path / "store"),
            models=models,
            sequence="sequence",
            label="label",
            split="hash",
            seeds=seeds,
        )
        return found

    return suite


@pytest.fixture
def without_twin(monkeypatch: pytest.MonkeyPatch) -> str:
    """Put a model whose weights cannot be drawn anew into the registry; return its name."""
    entry = MODELS["gpn-mini"]
    spec = entry.spec.model_copy(update={"name": "closed"})
    monkeypatch.setitem(MODELS._entries, "closed", replace(entry, spec=spec, untrained=None))
    return "closed"


def test_every_control_may_be_asked_for_and_gets_no_twin(asked: Asked) -> None:
    suite = asked(*CONTROLS)
    assert sorted(request.model for request in suite.models) == sorted(CONTROLS)
    require_runnable(suite)
    assert len({resolve_view(request).name for request in suite.models}) == len(CONTROLS)


def test_a_control_the_panel_has_anyway_stands_once_and_as_the_panel_reads_it() -> None:
    requests = panel(("gpn-mini", "rand_init:gpn-mini:0", "onehot", "kmer4"), 2)
    names = [request.model for request in requests]
    assert names == ["gpn-mini", "rand_init:gpn-mini:0", "rand_init:gpn-mini:1", "kmer4", "onehot"]
    assert requests[-1].pooling == "tokens"


def test_a_model_that_cannot_be_drawn_anew_runs_without_a_twin(without_twin: str, asked: Asked) -> None:
    assert with_twins((without_twin, "gpn-mini"), 1) == (without_twin, "gpn-mini", "rand_init:gpn-mini:0")
    suite = asked(without_twin)
    assert [request.model for request in suite.models] == [without_twin, "kmer4", "onehot"]
    assert suite.notes[0] == "Probe seeds: 2. Random twins of each model: 0."


def test_notes_count_the_twins_of_each_model(without_twin: str, asked: Asked) -> None:
    assert asked("gpn-mini", seeds=3).notes[0] == "Probe seeds: 3. Random twins of each model: 3."
    both = asked("gpn-mini", "rand_init:nt-v2-50m:0", without_twin, seeds=3)
    assert both.notes[0] == f"Probe seeds: 3. Random twins: 3 of gpn-mini, 0 of {without_twin}."
    assert asked("onehot").notes[0] == "Probe seeds: 2. Random twins: none."


def test_a_suite_tunes_and_reads_by_token_only_what_can_be(asked: Asked) -> None:
    of_controls = get_suite("demo", ("onehot", "kmer6"))
    assert of_controls.finetune is None
    assert of_controls.probes[1].token_models == ("onehot",)
    of_models = get_suite("demo", ("gpn-mini", "kmer6"))
    assert of_models.finetune is not None
    assert of_models.finetune.models == ("gpn-mini", "rand_init:gpn-mini:0")


def test_one_hot_of_different_lengths_is_refused(asked: Asked) -> None:
    with pytest.raises(ShapeError, match="differ in length"):
        asked("gpn-mini", "onehot", uneven=True)
    assert "onehot" not in [request.model for request in asked("kmer6", uneven=True).models]


def test_a_mistyped_model_is_refused_with_a_suggestion(asked: Asked) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean gpn-mini"):
        asked("gpn-mimi")


def test_a_suite_is_refused_whose_models_are_not_here_or_cannot_run(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GLMSTORE_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(WeightsError, match="glmstore models pull nt-v2-50m"):
        require_runnable(asked("gpn-mini", "nt-v2-50m"))
    with pytest.raises(WeightsError, match="glmstore models pull nt-v2-50m"):
        require_runnable(asked("shuf_weights:nt-v2-50m:0"))
    with pytest.raises(ModelUnavailableError, match="no NVIDIA GPU is visible"):
        require_runnable(asked("evo2-7b"))
    require_runnable(asked("gpn-mini", "rand_init:nt-v2-50m:0"))
    assert not (tmp_path / "store").exists()


def own(folder: Path, labels: list[int], name: str | None = None) -> Benchmark:
    path = folder / "cells.csv"
    sequences = ["".join(letters) for letters in product("ACGT", repeat=3)]
    rows = [f"{sequence},{labels[i % len(labels)] + i}" for i, sequence in enumerate(sequences)]
    path.write_text("sequence,label\n" + "\n".join(rows))
    _, found = find_suite(
        str(path),
        "memory://",
        models=(),
        sequence="sequence",
        label="label",
        split="hash",
        seeds=1,
        name=name,
    )
    assert found is not None
    return found


def test_another_table_of_the_same_name_is_told_and_a_name_keeps_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = str(tmp_path / "store")
    register_own(own(tmp_path, [0]), uri)
    register_own(own(tmp_path, [0]), uri)
    assert "note" not in capsys.readouterr().err
    register_own(own(tmp_path, [0, 7], name="hepg2"), uri)
    assert "note" not in capsys.readouterr().err
    register_own(own(tmp_path, [0, 7]), uri)
    assert "until now cells was cells.csv with label label" in capsys.readouterr().err
    assert set(FeatureStore.open(uri).benchmarks()["name"]) == {"cells", "hepg2"}


@pytest.mark.parametrize("name", ["a/b", "../up", "", " x", "sortseq_lac"])
def test_a_table_cannot_be_called_just_anything(tmp_path: Path, name: str) -> None:
    with pytest.raises((TableError, DuplicateNameError), match="name"):
        own(tmp_path, [0], name=name)


def test_a_network_on_one_hot_is_trained_once_where_lengths_are_equal(asked: Asked) -> None:
    (plan,) = asked("gpn-mini").probes
    assert (plan.token_heads, plan.token_models) == (("cnn",), ("onehot",))
    (uneven,) = asked("gpn-mini", uneven=True).probes
    assert uneven.token_heads == ()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["demo", "--seeds", "5"], "Invalid value for --seeds: the suite demo has its own number of them"),
        (["demo", "--name", "mine"], "Invalid value for --name: demo is no table"),
        (["sortseq_lac", "--split", "homology"], "Invalid value for --split: sortseq_lac is no table"),
        (["sortseq_lac", "--label", "activity"], "Invalid value for --label: sortseq_lac is no table"),
    ],
)
def test_an_option_that_the_target_does_not_read_is_refused(arguments: list[str], says: str) -> None:
    app = main_app()
    app.command("run")(run)
    result = CliRunner().invoke(app, ["run", *arguments, "--dry-run"], env={"COLUMNS": "120"})
    assert result.exit_code == 2
    assert says in result.stderr
