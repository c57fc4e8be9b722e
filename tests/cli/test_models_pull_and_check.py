"""Models are pulled, adopted, checked and listed from the command line."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from glmstore.cli import console
from glmstore.errors import WeightsError
from glmstore.models import FAMILIES, MODELS, get_model
from glmstore.models.checkpoints import pulling
from glmstore.models.checkpoints.hub import Hub
from glmstore.models.checkpoints.source import RECORD

Invoke = Callable[..., Any]
PROGRAM = Path(__file__).parents[1] / "models" / "fake_hub.py"


def _load_fake_hub() -> Any:
    spec = importlib.util.spec_from_file_location("fake_hub_of_commands", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


fake = _load_fake_hub()
NAME = fake.MODEL


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Put a model with a hub into the registry; return the empty folder of checkpoints."""
    monkeypatch.setenv("GLMSTORE_MODELS", str(tmp_path / "models"))
    monkeypatch.setitem(MODELS._entries, NAME, fake.entry())
    return tmp_path / "models"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, models: Path) -> Iterator[Any]:
    """Return a hub with one commit, which commands take for the real one."""
    hub, server = fake.serve()
    hub.push(fake.commit())
    monkeypatch.setattr(pulling, "Hub", lambda model, *_: Hub(model, hub.endpoint, first_wait=0.01))
    yield hub
    server.shutdown()
    server.server_close()


def test_a_model_is_pulled_and_pulling_again_says_it_is_there(glmstore: Invoke, hub: Any, models: Path):
    first = glmstore("models", "pull", NAME)
    assert first.exit_code == 0, first.stderr
    line, folder = first.stdout.splitlines()
    assert line.startswith(f"{NAME}  pulled 2 files, ")
    assert line.endswith(f"revision {hub.head}")
    assert folder == str(models / NAME)
    hub.push(fake.commit(seed=1))
    again = glmstore("models", "pull", NAME)
    assert "already here, nothing to do" in again.stdout
    assert f"note: {fake.REPO} has moved on from" in again.stderr
    upgraded = json.loads(glmstore("models", "pull", NAME, "--upgrade", "--json").stdout)
    assert (upgraded["verdict"], upgraded["revision"]) == ("pulled", hub.head)


def test_json_is_alone_on_stdout_and_no_bar_is_drawn(
    glmstore: Invoke, hub: Any, models: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(console, "Console", lambda **options: Console(**options, force_terminal=True))
    done = glmstore("models", "pull", NAME, "--json")
    assert json.loads(done.stdout)["model"] == NAME
    assert done.stderr == ""


def test_another_folder_is_pulled_into_and_the_setting_named(glmstore: Invoke, hub: Any, tmp_path: Path):
    done = glmstore("models", "pull", NAME, "--into", tmp_path / "else")
    assert (tmp_path / "else" / NAME / RECORD).is_file()
    assert f"GLMSTORE_MODELS={tmp_path / 'else'}" in done.stderr


def test_a_folder_is_adopted(glmstore: Invoke, models: Path, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    for name, content in fake.commit().items():
        (tmp_path / "mine" / name).write_bytes(content)
    done = glmstore("models", "pull", NAME, "--from", tmp_path / "mine", "--link")
    assert done.stdout.startswith(f"{NAME}  adopted 2 files")
    assert json.loads(glmstore("models", "show", NAME, "--json").stdout)["weights"] == "adopted"


def test_refusals_end_with_2_and_one_line(refused: Invoke, models: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GLMSTORE_OFFLINE", "1")
    said = refused("models", "pull", NAME)
    assert f"glmstore models pull {NAME} --into DIR" in said
    assert "GLMSTORE_MODELS" in said
    assert "on no hub" in refused("models", "pull", "gpn-human")
    assert "Did you mean gpn-mini" in refused("models", "pull", "gpn-mimi")
    assert "no weights of its own" in refused("models", "check", "gpn-mini", "onehot")
    assert "here there are: cpu" in refused("models", "check", "gpn-mini", "--device", "cuda:99")
    assert "no torch device" in refused("models", "check", "gpn-mini", "--device", "gpu")


@pytest.mark.parametrize(
    "arguments",
    [
        ["pull", NAME, "--revision", "main"],
        ["pull", NAME, "--from", ".", "--revision", "0" * 40],
        ["pull", NAME, "--link"],
        ["check"],
        ["check", "gpn-mini", "--all"],
    ],
)
def test_options_that_contradict_each_other_are_refused(glmstore: Invoke, models: Path, arguments: list[str]):
    assert glmstore("models", *arguments).exit_code == 2
    assert not models.exists()


def test_a_check_is_a_table_for_people_and_a_list_for_machines(glmstore: Invoke):
    table = glmstore("models", "check", "gpn-mini")
    assert table.exit_code == 0
    assert "nats a token, guessing 1.386" in table.stdout
    rows = json.loads(glmstore("models", "check", "gpn-mini", "--json").stdout)
    assert {row["verdict"] for row in rows} == {"ok"}
    assert {row["model"] for row in rows} == {"tiny gpn", "gpn-mini"}
    assert rows[0].keys() == {"model", "what", "verdict", "found"}


def test_a_check_that_fails_ends_with_1(glmstore: Invoke, hub: Any, models: Path):
    glmstore("models", "pull", NAME)
    random = glmstore("models", "check", NAME)
    assert random.exit_code == 1, "weights that were never trained predict no promoter"
    path = models / NAME / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    changed = glmstore("models", "check", NAME, "--json")
    assert changed.exit_code == 1
    assert [r["what"] for r in json.loads(changed.stdout) if r["verdict"] == "failed"] == ["files"]


def test_all_checks_the_architecture_of_every_family(glmstore: Invoke, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("glmstore.models.checkpoints.checking._questions", lambda *_, **__: iter(()))
    rows = json.loads(glmstore("models", "check", "--all", "--json").stdout)
    assert {row["model"] for row in rows} == {f"tiny {name}" for name in FAMILIES.names()}


def test_the_list_says_where_weights_are_and_fits_100_columns(
    glmstore: Invoke, models: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(console, "PIPE_WIDTH", 100)
    lines = glmstore("models", "list").stdout.splitlines()
    assert max(map(len, lines)) <= 100
    rows = {line.split()[0]: line for line in lines if line.startswith("  ")}
    assert rows.keys() == set(MODELS.names()), "each on one line"
    assert " shipped " in rows["gpn-mini"]
    assert " not pulled " in rows[NAME]
    family = lines.index(next(line for line in lines if line.rstrip() == "GPN"))
    assert [line.split()[0] for line in lines[family + 1 : family + 3]] == [NAME, "gpn-mini"], (
        "smallest first"
    )


def test_show_says_how_to_get_weights_that_are_not_here(glmstore: Invoke, models: Path):
    shown = glmstore("models", "show", NAME).stdout
    assert f"not pulled: run `glmstore models pull {NAME}`" in shown
    assert fake.REPO in shown
    assert "--from FOLDER" in glmstore("models", "show", "gpn-human").stdout
    derived = json.loads(glmstore("models", "show", "rand_init:gpn-mini:0", "--json").stdout)
    assert derived["weights"] is None
    assert derived["needs"] is None


def unwrapped(text: str) -> str:
    return " ".join(text.split())


def test_show_of_a_control_names_the_model_whose_weights_it_needs(glmstore: Invoke, models: Path):
    shown = unwrapped(glmstore("models", "show", "shuf_weights:nt-v2-50m:0").stdout)
    assert "the weights of nt-v2-50m are not pulled: run `glmstore models pull nt-v2-50m` here" in shown
    assert "models pull shuf_weights" not in shown


def test_pulling_what_comes_with_the_package_has_nothing_to_do(
    glmstore: Invoke, refused: Invoke, models: Path
):
    done = glmstore("models", "pull", "gpn-mini")
    assert done.exit_code == 0
    assert done.stdout.startswith("gpn-mini  comes with the package, nothing to do")
    assert json.loads(glmstore("models", "pull", "gpn-mini", "--json").stdout)["verdict"] == "shipped"
    assert "comes with the package" in refused("models", "pull", "gpn-mini", "--from", models.parent)
    with pytest.raises(WeightsError, match="comes with the package"):
        pulling.pull(MODELS["gpn-mini"])
    assert not models.exists()


EVO2_NEEDS = (
    *("compute capability 8.0", "CUDA 12.1", "14 GB of GPU memory", "pip install evo2"),
    *("14 GB of download", "no NVIDIA GPU is visible"),
)


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


@pytest.mark.usefixtures("without_gpu")
def test_what_a_model_asks_of_a_machine_is_said_before_it_is_pulled(
    glmstore: Invoke, models: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GLMSTORE_OFFLINE", "1")
    shown = glmstore("models", "show", "evo2-7b")
    checked = glmstore("models", "check", "evo2-7b")
    pulled = glmstore("models", "pull", "evo2-7b")
    assert (shown.exit_code, checked.exit_code, pulled.exit_code) == (0, 0, 2)
    note, error = pulled.stderr.splitlines()
    assert note.startswith("note: evo2-7b cannot run on this machine: ")
    assert error.startswith("error: cannot pull evo2-7b: GLMSTORE_OFFLINE is set")
    for said in (shown.stdout, checked.stdout, note):
        assert [part for part in EVO2_NEEDS if part not in unwrapped(said)] == []
    facts = json.loads(glmstore("models", "show", "evo2-7b", "--json").stdout)
    assert "14 GB of download" in facts["needs"]
    assert "no NVIDIA GPU is visible to torch" in facts["lacking_here"]
    rows = json.loads(glmstore("models", "check", "evo2-7b", "--json").stdout)
    assert [(row["what"], row["verdict"]) for row in rows] == [("machine", "note"), ("weights", "note")]


@pytest.mark.usefixtures("without_gpu")
def test_embedding_with_what_cannot_run_or_is_not_here_says_what_to_do(
    refused: Invoke, models: Path, fasta: Path
):
    evo = refused("embed", fasta, "--model", "evo2-7b")
    assert [part for part in EVO2_NEEDS if part not in evo] == []
    sei = refused("embed", fasta, "--model", "sei")
    assert "on no hub: `glmstore models pull sei --from FOLDER`" in sei
    hub = refused("embed", fasta, "--model", "nt-v2-50m")
    assert "run `glmstore models pull nt-v2-50m` here" in hub
    assert "no network, with `--into DIR` on one that has" in hub
    shuffled = refused("embed", fasta, "--model", "shuf_weights:nt-v2-50m:0")
    assert "the weights of nt-v2-50m are not pulled: run `glmstore models pull nt-v2-50m`" in shuffled
    twin = refused("embed", fasta, "--model", "rand_init:dnabert2-117m:0")
    assert "the tokenizer published with dnabert2-117m is not pulled" in twin


@pytest.mark.parametrize("name", ["sei", "nt-v2-50m", "shuf_weights:nt-v2-50m:0", "shuf_weights:sei:0"])
def test_a_view_that_cannot_be_named_yet_says_how_to_get_the_weights(name: str, models: Path):
    owner = name.split(":")[1] if ":" in name else name
    with pytest.raises(
        WeightsError, match=f"weights of {owner} are here.*`glmstore models pull {owner}"
    ) as said:
        get_model(name).spec.view()
    assert ("--from FOLDER" in str(said.value)) == (owner == "sei")


def test_models_are_on_a_hub_just_where_they_name_one():
    for entry in MODELS:
        assert (entry.source is None) == (entry.spec.hub_id is None), entry.name
