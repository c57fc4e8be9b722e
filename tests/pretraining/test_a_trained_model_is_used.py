"""From a FASTA to features: what was trained is a model like any other, named by its weights."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from glmstore.benchmarks.base import BenchmarkData, BenchmarkSpec
from glmstore.benchmarks.suites import with_twins
from glmstore.cli import main_app
from glmstore.errors import UnknownNameError, WeightsError
from glmstore.extraction import materialize
from glmstore.finetuning import FineTuneSettings
from glmstore.finetuning import plan_cell as plan_adapter
from glmstore.finetuning import run_cell as train_adapter
from glmstore.models import get_model
from glmstore.pretraining import About, PretrainConfig, export_weights, pretrain
from glmstore.probing import pretraining_overlap
from glmstore.results import Cell
from glmstore.store import FeatureStore
from glmstore.variants.zero_shot import ZeroShotSettings
from glmstore.variants.zero_shot import plan_cell as plan_scores

ABOUT = About(name="My plant: 1st", species=("Zea mays",), assembly="toy1", licence="CC0-1.0")
SEQUENCES = ["ACGGTTCATACGAC", "TTTTGGGGNACA", "GATTACA"]


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLMSTORE_MODELS", str(tmp_path / "shelf"))
    return tmp_path / "shelf"


@pytest.fixture
def export(config: PretrainConfig, tmp_path: Path) -> Path:
    """A folder that a run on chromosomes 1 and 2 was exported to; 2 was held out."""
    text = config.fasta.read_text().replace("chrT", "chr1")
    rng = np.random.default_rng(1)
    config.fasta.write_text(text + ">chr2\n" + "".join(rng.choice(list("ACGT"), 2_000)) + "\n")
    run = config.model_copy(
        update={"holdout": config.holdout.model_copy(update={"names": ("chr2",)}), "steps": 8}
    )
    pretrain(run)
    export_weights(run.out_dir, run.fasta, tmp_path / "export1", ABOUT)
    return tmp_path / "export1"


def command(*arguments: object) -> Any:
    result = CliRunner().invoke(main_app(), [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_it_embeds_with_its_random_twin_and_its_shuffled_weights_into_a_store(export: Path, tmp_path: Path):
    fasta, store = tmp_path / "three.fa", tmp_path / "store"
    fasta.write_text("".join(f">{i}\n{s}\n" for i, s in enumerate(SEQUENCES)))
    models = [f"gpn:{export}", f"rand_init:gpn:{export}:0", f"shuf_weights:gpn:{export}:0"]
    reports = [command("embed", fasta, "--model", model, "--store", store, "--json") for model in models]
    assert [r["computed"] for r in reports] == [3, 3, 3]
    opened = FeatureStore.open(str(store))
    keys = opened.add_sequences(SEQUENCES)
    views = [get_model(model).spec.view() for model in models]
    read = [opened.read(view, keys).values for view in views]
    assert all(values.shape == (3, 16) and np.isfinite(values).all() for values in read)
    assert not np.allclose(read[0], read[1], atol=0.05)
    assert not np.allclose(read[0], read[2], atol=0.05)
    expected = materialize(FeatureStore.open("memory://a"), models[0], SEQUENCES)
    assert expected.view == views[0]


def test_a_view_follows_the_weights_wherever_the_folder_lies(
    export: Path, tmp_path: Path, config: PretrainConfig
):
    store = FeatureStore.open(str(tmp_path / "store"))
    first = materialize(store, f"gpn:{export}", SEQUENCES)
    moved = shutil.move(export, tmp_path / "elsewhere")
    again = materialize(store, f"gpn:{moved}", SEQUENCES)
    assert (again.view, again.computed, again.present) == (first.view, 0, 3)
    shutil.rmtree(moved)
    by_name = materialize(store, first.view.model, [*SEQUENCES, "ACGT"])
    assert (by_name.view, by_name.computed) == (first.view, 1)
    assert str(tmp_path) not in first.view.name


def test_other_weights_in_the_same_folder_are_another_model_and_the_first_stays(
    export: Path, tmp_path: Path, config: PretrainConfig
):
    before = get_model(f"gpn:{export}").spec
    run = config.model_copy(update={"seed": 1, "out_dir": tmp_path / "second"})
    pretrain(run)
    export_weights(run.out_dir, run.fasta, export, ABOUT)
    after = get_model(f"gpn:{export}").spec
    assert {before.name, before.revision}.isdisjoint({after.name, after.revision})
    assert get_model(before.name).load("cpu").spec.revision == before.revision
    config_file = export / "config.json"
    changed = json.loads(config_file.read_text()) | {"dilation_cycle": 1}
    config_file.write_text(json.dumps(changed))
    assert get_model(f"gpn:{export}").spec.revision not in {before.revision, after.revision}


def test_name_pretraining_licence_and_shape_are_those_of_the_export(export: Path):
    spec = get_model(f"gpn:{export}").spec
    assert spec.name == f"gpn:My-plant-1st-{spec.revision[:12]}"
    assert (spec.dim, spec.n_layers, spec.licence, spec.objective) == (16, 2, "CC0-1.0", "mlm")
    assert spec.pretraining.model_dump() == {
        "species": ("Zea mays",),
        "complete": True,
        "assembly": "toy1",
        "chromosomes": ("chr1",),
    }
    twin = get_model(f"rand_init:gpn:{export}:3").spec
    assert (twin.name, twin.twin_of) == (f"rand_init:{spec.name}:3", spec.name)
    assert with_twins((f"gpn:{export}",), 1) == (spec.name, f"rand_init:{spec.name}:0")


def test_metadata_that_is_corrected_keeps_the_view_and_reaches_the_copy(export: Path):
    before = get_model(f"gpn:{export}").spec
    record = json.loads((export / "config.json").read_text())
    record["glmstore"]["licence"] = "MIT"
    (export / "config.json").write_text(json.dumps(record))
    after = get_model(f"gpn:{export}").spec
    assert (after.licence, after.view()) == ("MIT", before.view())
    assert get_model(before.name).spec.licence == "MIT"


def bench(organism: str, chromosomes: tuple[str, ...], kind: str = "regression") -> BenchmarkSpec:
    return BenchmarkSpec(
        name="toy",
        title="Toy",
        family="MPRA regression",
        label_kind=kind,
        label="number of G",
        metrics=("pearson_r",),
        split="random",
        sequence_length=24,
        organism=organism,
        chromosomes=chromosomes,
        sources=(),
        citation="",
    )


@pytest.mark.parametrize(
    ("organism", "chromosomes", "overlap"),
    [
        ("Zea mays", ("chr2",), "none"),
        ("Zea mays", ("chr1", "chr2"), "yes"),
        ("Homo sapiens", ("chr1",), "none"),
    ],
)
def test_the_held_out_chromosome_was_not_seen(export: Path, organism, chromosomes, overlap):
    assert pretraining_overlap(get_model(f"gpn:{export}").spec, bench(organism, chromosomes)) == overlap


def test_show_and_check_know_it(export: Path):
    shown = command("models", "show", f"gpn:{export}", "--json")
    assert (shown["weights"], shown["licence"]) == ("adopted", "CC0-1.0")
    found = command("models", "check", f"gpn:{export}", "--json")
    assert {c["what"] for c in found if c["model"] == shown["name"]} >= {
        "files",
        "strict load",
        "fingerprint",
    }
    assert not [c for c in found if c["verdict"] == "failed"]
    again = command("models", "check", shown["name"], "--json")
    assert any("of torch" in c["found"] or "from that of" in c["found"] for c in again)


def test_a_plan_is_made_of_it(export: Path, tmp_path: Path):
    fasta = tmp_path / "three.fa"
    fasta.write_text(">a\nACGTACGTAC\n")
    plan = command("plan", fasta, "--model", f"gpn:{export}", "--store", tmp_path / "none", "--json")
    assert f"{get_model(f'gpn:{export}').name}" in json.dumps(plan)


def test_cells_and_adapters_carry_its_name_and_an_adapter_embeds(export: Path, tmp_path: Path):
    rng = np.random.default_rng(0)
    sequences = ["".join(rng.choice(list("ACGT"), 24)) for _ in range(80)]
    items = pl.DataFrame(
        {
            "item_id": [f"i{i}" for i in range(80)],
            "sequence": sequences,
            "label": [float(s.count("G")) for s in sequences],
            "split": ["train"] * 56 + ["valid"] * 8 + ["test"] * 16,
            "cluster": [f"i{i}" for i in range(80)],
        }
    )
    store = FeatureStore.open(str(tmp_path / "store"))
    store.register_benchmark(bench("Zea mays", ("chr2",)), BenchmarkData(items))
    settings = FineTuneSettings(rank=2, layer=1, epochs=1, max_train=32, batch_size=16, seeds=(0,))
    cell = plan_adapter(store, "toy", f"gpn:{export}", settings)
    name = get_model(f"gpn:{export}").name
    assert cell.model == name
    shutil.rmtree(export)
    outcome = train_adapter(store, cell, settings, tmp_path / "adapters")
    assert {row.pretraining_overlap for row in outcome.rows} == {"none"}
    (adapter,) = (tmp_path / "adapters").iterdir()
    adapted = materialize(store, f"lora:{adapter}", SEQUENCES)
    assert adapted.computed == 3
    assert get_model(f"lora:{adapter}").spec.twin_of == name


def test_variant_cells_carry_its_name(export: Path, tmp_path: Path):
    items = pl.DataFrame(
        {"item_id": ["0A>C"], "sequence": ["CCGT"], "label": [0.5], "split": ["test"], "cluster": ["0"]}
    )
    store = FeatureStore.open(str(tmp_path / "store"))
    store.register_benchmark(
        bench("Zea mays", ("chr2",), "variant_effect"), BenchmarkData(items, {"reference": "ACGT"})
    )
    cell: Cell = plan_scores(store, "toy", f"gpn:{export}", "llr", ZeroShotSettings())
    assert cell.model == get_model(f"gpn:{export}").name


def test_another_process_finds_it_by_name(export: Path, tmp_path: Path):
    name = get_model(f"gpn:{export}").name
    code = (
        f"from glmstore.models import get_model; print(get_model({name!r}).load('cpu').spec.weights_sha256)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False
    )
    assert (
        done.stdout.strip() == json.loads((export / "config.json").read_text())["glmstore"]["weights_sha256"]
    ), done.stderr


def test_threads_that_ask_at_once_get_one_copy(export: Path, shelf: Path):
    with ThreadPoolExecutor(8) as pool:
        entries = list(pool.map(get_model, [f"gpn:{export}"] * 24))
    (name,) = {entry.name for entry in entries}
    assert sorted(p.name for p in (shelf / name).iterdir()) == [
        "MODEL_CARD.md",
        "config.json",
        "glmstore.json",
        "model.safetensors",
    ]


def test_models_that_cannot_be_written_beside_are_named(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GLMSTORE_MODELS", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match=r"cannot be copied .* Set GLMSTORE_MODELS"):
        get_model(f"gpn:{export}")


def test_what_it_loads_are_the_weights_that_were_exported(export: Path):
    model: Any = get_model(f"gpn:{export}").load("cpu")
    for name, tensor in load_file(export / "model.safetensors").items():
        assert (model.network.state_dict()[name] == tensor.float()).all()


def test_a_name_that_is_nowhere_is_refused_with_those_that_are(export: Path, tmp_path: Path):
    name = get_model(f"gpn:{export}").name
    with pytest.raises(UnknownNameError, match=name):
        get_model(f"{name[:-2]}xx")
    with pytest.raises(UnknownNameError, match="by its path"):
        get_model("gpn:")
    with pytest.raises(UnknownNameError):
        get_model(f"gpn:{tmp_path / 'nowhere'}")


def test_what_is_no_export_is_refused(export: Path, tmp_path: Path, shelf: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="not a readable GPN configuration"):
        get_model(f"gpn:{tmp_path / 'empty'}")
    weights = export / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-2] + b"ab")
    with pytest.raises(WeightsError, match=r"model\.safetensors is not what config\.json beside it pins"):
        get_model(f"gpn:{export}")
    weights.unlink()
    with pytest.raises(WeightsError, match="cannot be copied"):
        get_model(f"gpn:{export}")
    assert not shelf.exists()


def test_a_copy_that_was_changed_is_refused_when_loaded(export: Path, shelf: Path):
    name = get_model(f"gpn:{export}").name
    weights = shelf / name / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-2] + b"ab")
    with pytest.raises(WeightsError, match=f"{name} has sha256"):
        get_model(name).load("cpu")
    (shelf / name).rename(shelf / "gpn:other-0123")
    with pytest.raises(WeightsError, match="move it to"):
        get_model("gpn:other-0123")
