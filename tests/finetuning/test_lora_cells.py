"""LoRA cells over a store with the real backbone and its random twin, kept small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from glmstore.benchmarks.base import BenchmarkData, BenchmarkSpec, LabelKind
from glmstore.errors import HeadError, LayerError, StaleCellError, UnknownNameError, WeightsError
from glmstore.extraction import materialize
from glmstore.finetuning import FineTuneSettings, load_finetuned, plan_cell, read_manifest, run_cell
from glmstore.models import get_model
from glmstore.store import FeatureStore

TWIN = "rand_init:gpn-mini:0"
SETTINGS = FineTuneSettings(
    rank=4, layer=2, epochs=2, learning_rate=1e-2, batch_size=16, max_train=96, max_valid=16, n_resamples=100
)
LENGTH = 24


def _spec(kind: LabelKind = "regression") -> BenchmarkSpec:
    return BenchmarkSpec(
        name="toy_mpra",
        title="Toy",
        family="MPRA regression",
        label_kind=kind,
        label="number of G",
        metrics=("pearson_r", "spearman_rho") if kind == "regression" else ("auroc",),
        split="random",
        sequence_length=LENGTH,
        organism="Homo sapiens",
        sources=(),
        citation="",
    )


def _data(kind: LabelKind = "regression", seed: int = 0) -> BenchmarkData:
    rng = np.random.default_rng(seed)
    sequences = ["".join(rng.choice(list("ACGT"), LENGTH)) for _ in range(160)]
    label = np.array([float(s.count("G")) for s in sequences])
    items = pl.DataFrame(
        {
            "item_id": [f"item{i}" for i in range(160)],
            "sequence": sequences,
            "label": label if kind == "regression" else (label > 6).astype(float),
            "split": ["train"] * 112 + ["valid"] * 16 + ["test"] * 32,
            "cluster": [f"item{i}" for i in range(160)],
        }
    )
    return BenchmarkData(items)


@pytest.fixture
def store() -> FeatureStore:
    store = FeatureStore.open("memory://")
    store.register_benchmark(_spec(), _data())
    return store


def test_an_adapter_a_seed_is_trained_judged_and_stored(store: FeatureStore, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"seeds": (0, 1)})
    cell = plan_cell(store, "toy_mpra", "gpn-mini", settings)
    seen: list[tuple[int, int]] = []
    rows, predictions, adapters = run_cell(
        store, cell, settings, tmp_path, progress=lambda done, of: seen.append((done, of))
    )
    assert [r.metric for r in rows] == ["pearson_r", "spearman_rho"]
    assert all((r.head, r.n, r.seeds, r.control) == ("lora", 32, 2, "none") for r in rows)
    assert (rows[0].value or 0) > 0.5, "the number of G is easily learnt"
    store.write_results(rows, predictions)
    assert store.completed([cell.key]) == {cell.key}
    wide = predictions.pivot(on="seed", index="item_id", values="prediction")
    y = predictions.filter(pl.col("seed") == 0)["label"]
    r = [np.corrcoef(y, wide[seed])[0, 1] for seed in ("0", "1")]
    assert rows[0].value == pytest.approx(np.mean(r))
    assert not np.array_equal(wide["0"], wide["1"])
    assert [a.name.rsplit("-", 1)[1] for a in adapters] == ["seed0", "seed1"]
    details = json.loads(rows[0].details)
    assert details["n_train"] == 96
    assert len(details["seconds_per_epoch"]) == 4
    assert seen[-1] == (2 * 2 * 96, 2 * 2 * 96)


def test_the_twin_takes_the_same_code_and_keeps_its_control_flag(store: FeatureStore, tmp_path: Path) -> None:
    cell = plan_cell(store, "toy_mpra", TWIN, SETTINGS)
    outcome = run_cell(store, cell, SETTINGS, tmp_path)
    assert {r.control for r in outcome.rows} == {"random_twin"}
    assert {r.pretraining_overlap for r in outcome.rows} == {"not applicable"}
    entry = get_model(f"lora:{outcome.adapters[0]}")
    assert (entry.spec.twin_of, entry.spec.control) == (TWIN, "random_twin")


def test_a_saved_adapter_is_loaded_and_not_trained_again(store: FeatureStore, tmp_path: Path) -> None:
    cell = plan_cell(store, "toy_mpra", "gpn-mini", SETTINGS)
    first = run_cell(store, cell, SETTINGS, tmp_path)
    written = (first.adapters[0] / "manifest.json").stat().st_mtime_ns

    def no_training(done: int, of: int) -> None:
        raise AssertionError("trained again")

    second = run_cell(store, cell, SETTINGS, tmp_path, progress=no_training)
    assert second.predictions.equals(first.predictions), "bit for bit"
    assert [r.value for r in second.rows] == [r.value for r in first.rows]
    assert (second.adapters[0] / "manifest.json").stat().st_mtime_ns == written


def test_a_damaged_adapter_is_refused_and_not_judged(store: FeatureStore, tmp_path: Path) -> None:
    cell = plan_cell(store, "toy_mpra", "gpn-mini", SETTINGS)
    (folder,) = run_cell(store, cell, SETTINGS, tmp_path).adapters
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WeightsError, match="fine-tune again with --force"):
        run_cell(store, cell, SETTINGS, tmp_path)


def test_an_adapter_s_embeddings_are_a_view_of_their_own(store: FeatureStore, tmp_path: Path) -> None:
    cell = plan_cell(store, "toy_mpra", "gpn-mini", SETTINGS)
    (folder,) = run_cell(store, cell, SETTINGS, tmp_path).adapters
    sequences = store.benchmark_items("toy_mpra")["sequence"].to_list()[:8]
    made = {name: materialize(store, name, sequences, layer=2) for name in ("gpn-mini", f"lora:{folder}")}
    plain, adapted = made.values()
    assert (plain.computed, adapted.computed) == (8, 8)
    assert plain.view.view_id != adapted.view.view_id
    manifest = read_manifest(folder)
    assert adapted.view.revision == manifest.adapter_sha256
    assert store.provenance(adapted.view).weights_sha256 == manifest.adapter_sha256
    assert store.provenance(adapted.view).model_spec["twin_of"] == "gpn-mini"
    keys = store.add_sequences(sequences)
    a, b = (store.read(view, keys).values.astype(np.float32) for view in (plain.view, adapted.view))
    assert np.abs(a - b).max() > 0.05
    import torch

    tuned = load_finetuned(folder)
    batch = tuned.model.encode(sequences)
    with torch.no_grad():
        expected = tuned.model.hidden_states(batch, 2).mean(dim=1).numpy()
    np.testing.assert_allclose(b, expected, atol=0.05)


def test_a_binary_benchmark_is_judged_by_its_own_metrics(tmp_path: Path) -> None:
    store = FeatureStore.open("memory://")
    store.register_benchmark(_spec("binary"), _data("binary"))
    cell = plan_cell(store, "toy_mpra", "gpn-mini", SETTINGS)
    outcome = run_cell(store, cell, SETTINGS, tmp_path)
    assert [r.metric for r in outcome.rows] == ["auroc"]
    assert outcome.predictions["prediction"].is_between(0, 1).all()


def test_the_identity_of_a_cell_holds_what_changes_its_numbers(store: FeatureStore) -> None:
    def key(model: str = "gpn-mini", **changes: object) -> str:
        return plan_cell(store, "toy_mpra", model, SETTINGS.model_copy(update=changes)).key

    assert key() == key()
    keys = [key(), key(TWIN), key(rank=8), key(epochs=3), key(max_train=None), key(seeds=(1,)), key(layer=3)]
    assert len(set(keys)) == len(keys)
    default = get_model("gpn-mini").spec.default_layer
    assert key(layer=None) == key(layer=default), "the same layer under another name"


def test_adapters_trained_otherwise_are_not_compared(store: FeatureStore) -> None:
    def protocol(model: str = "gpn-mini", **changes: Any) -> str:
        return plan_cell(store, "toy_mpra", model, FineTuneSettings(**changes)).protocol

    default = get_model("gpn-mini").spec.default_layer
    assert protocol() == protocol(TWIN) == protocol(seeds=(3,), layer=default) == "glmstore"
    assert protocol(other_learning_rates=(0.03,), epochs=1, max_train=6000, layer=2) == (
        "glmstore, learning rate 0.01 or 0.03, 6,000 training items, epochs 1, layer 2"
    )


def test_what_cannot_be_planned_is_refused(store: FeatureStore) -> None:
    with pytest.raises(HeadError, match="onehot cannot be fine-tuned"):
        plan_cell(store, "toy_mpra", "onehot", SETTINGS)
    with pytest.raises(LayerError, match="99"):
        plan_cell(store, "toy_mpra", "gpn-mini", SETTINGS.model_copy(update={"layer": 99}))
    with pytest.raises(UnknownNameError, match="no model is called 'gpn-mimi'"):
        plan_cell(store, "toy_mpra", "gpn-mimi", SETTINGS)
    store.register_benchmark(
        _spec().model_copy(update={"name": "toy_vep", "label_kind": "variant_effect"}), _data()
    )
    with pytest.raises(HeadError, match="toy_vep is scored zero-shot"):
        plan_cell(store, "toy_vep", "gpn-mini", SETTINGS)


def test_a_cell_planned_for_other_items_is_refused(store: FeatureStore, tmp_path: Path) -> None:
    cell = plan_cell(store, "toy_mpra", "gpn-mini", SETTINGS)
    store.register_benchmark(_spec(), _data(seed=1))
    with pytest.raises(StaleCellError, match="toy_mpra has changed"):
        run_cell(store, cell, SETTINGS, tmp_path)
    assert list(tmp_path.iterdir()) == []
