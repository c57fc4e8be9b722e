"""Adapters that are saved, moved, tampered with, and loaded again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from glmstore.errors import UnknownNameError, WeightsError
from glmstore.finetuning import (
    FineTuneSettings,
    Manifest,
    Origin,
    load_finetuned,
    read_manifest,
    save_finetuned,
)
from glmstore.finetuning.adapter import TunedModel
from glmstore.finetuning.train import Labelled, fine_tune
from glmstore.models.base import GenomicLM
from glmstore.models.catalogue import get_model

Make = Callable[[], GenomicLM]
SETTINGS = FineTuneSettings(rank=2, hidden=5, epochs=1, precision="float32", learning_rate=1e-2)
SEQUENCES = ["".join(np.random.default_rng(i).choice(list("ACGT"), 9 + i % 4)) for i in range(64)]
ORIGIN = Origin(
    benchmark="toy_benchmark", benchmark_digest="0" * 32, seed=0, settings=SETTINGS, n_train=64, best_epoch=1
)


def _train(make: Make) -> TunedModel:
    items = Labelled(SEQUENCES, np.array([float(s.count("G")) for s in SEQUENCES]))
    return fine_tune(make(), items, items, "regression", SETTINGS, seed=0).tuned


@pytest.fixture
def saved(toy_model: Make, toy_in_catalogue: Callable[..., None], tmp_path: Path) -> tuple[TunedModel, Path]:
    tuned, folder = _train(toy_model), tmp_path / "shelf" / "one"
    save_finetuned(tuned, folder, ORIGIN)
    return tuned, folder


def test_a_loaded_adapter_predicts_bit_for_bit_what_it_did_when_saved(saved: tuple[TunedModel, Path]) -> None:
    tuned, folder = saved
    np.testing.assert_array_equal(load_finetuned(folder).predict(SEQUENCES), tuned.predict(SEQUENCES))


def test_a_folder_holds_peft_s_files_the_head_and_what_they_belong_to(saved: tuple[TunedModel, Path]) -> None:
    _, folder = saved
    assert sorted(p.name for p in folder.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "head.safetensors",
        "manifest.json",
    ]
    manifest = read_manifest(folder)
    assert (manifest.base_model, manifest.base_revision, manifest.layer) == ("toy", "a" * 64, 2)
    assert manifest.origin == ORIGIN
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 2
    assert [p.name for p in folder.parent.iterdir()] == ["one"], "no draft is left beside it"


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "head.safetensors"])
@pytest.mark.parametrize("harm", ["truncate", "flip", "remove"])
def test_a_file_that_is_not_the_one_trained_is_refused(
    saved: tuple[TunedModel, Path], name: str, harm: str
) -> None:
    path = saved[1] / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes(data if harm == "flip" else data[:-7])
    with pytest.raises(WeightsError, match=f"{name} is not the file that was trained"):
        load_finetuned(saved[1])


@pytest.mark.parametrize("text", ["", "{", '{"base_model": "toy"}', '"manifest"'])
def test_a_manifest_that_cannot_be_read_is_refused(saved: tuple[TunedModel, Path], text: str) -> None:
    (saved[1] / "manifest.json").write_text(text)
    with pytest.raises(WeightsError, match=r"manifest\.json cannot be read"):
        load_finetuned(saved[1])


def test_a_folder_without_an_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds no adapter"):
        load_finetuned(tmp_path)


def test_a_backbone_of_another_revision_is_refused_by_name(
    saved: tuple[TunedModel, Path], toy_in_catalogue: Callable[..., None]
) -> None:
    toy_in_catalogue(revision="b" * 64)
    with pytest.raises(
        WeightsError, match=f"toy at revision {'a' * 64}; here that model has revision {'b' * 64}"
    ):
        load_finetuned(saved[1])


def test_a_saved_adapter_is_never_written_over(saved: tuple[TunedModel, Path]) -> None:
    tuned, folder = saved
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(WeightsError, match="could not be written"):
        save_finetuned(tuned, folder, ORIGIN.model_copy(update={"seed": 1}))
    assert (folder / "manifest.json").read_bytes() == before
    assert len(list(folder.parent.iterdir())) == 1


def test_a_failed_save_leaves_nothing(
    toy_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    tuned = _train(toy_model)
    monkeypatch.setattr("safetensors.torch.save_file", full_disk)
    with pytest.raises(WeightsError, match="No space left"):
        save_finetuned(tuned, tmp_path / "shelf" / "one", ORIGIN)
    assert list((tmp_path / "shelf").iterdir()) == []


def test_an_adapter_of_an_unpinned_model_is_not_saved(toy_model: Make, tmp_path: Path) -> None:
    tuned = _train(toy_model)
    tuned.model.spec = tuned.model.spec.model_copy(update={"revision": None})
    with pytest.raises(WeightsError, match="not pinned"):
        save_finetuned(tuned, tmp_path / "one", ORIGIN)


def test_an_adapter_is_a_model_of_its_own(saved: tuple[TunedModel, Path], toy_model: Make) -> None:
    tuned, folder = saved
    entry = get_model(f"lora:{folder}")
    manifest: Manifest = read_manifest(folder)
    assert entry.spec.revision == entry.spec.weights_sha256 == manifest.adapter_sha256
    assert (entry.spec.name, entry.spec.twin_of, entry.spec.default_layer) == (f"lora:{folder}", "toy", 2)
    assert entry.spec.view().view_id != tuned.model.spec.view().view_id
    model = entry.load("cpu")
    batch = model.encode(SEQUENCES[:3])
    with torch.no_grad():
        adapted, expected = model.hidden_states(batch, 2), tuned.model.hidden_states(batch, 2)
        plain = toy_model().hidden_states(batch, 2)
    assert torch.equal(adapted, expected)
    assert not torch.allclose(adapted, plain, atol=1e-4)
    provenance = model.provenance("float32")
    assert provenance.weights_sha256 == manifest.adapter_sha256
    assert provenance.model_spec["name"] == f"lora:{folder}"


def test_adapters_beside_the_default_store_go_by_name(
    toy_model: Make, toy_in_catalogue: Callable[..., None], tmp_path: Path
) -> None:
    save_finetuned(_train(toy_model), tmp_path / "default-store-artifacts" / "adapters" / "toy-tuned", ORIGIN)
    assert get_model("lora:toy-tuned").spec.name == "lora:toy-tuned"
    with pytest.raises(UnknownNameError, match="Did you mean toy-tuned"):
        get_model("lora:toy-tune")
