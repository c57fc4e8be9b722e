"""A probe's cell: what identifies it, what it reads, what it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from glmstore.benchmarks.base import BenchmarkData, BenchmarkSpec
from glmstore.errors import HeadError, MissingFeaturesError, StaleCellError, UnknownNameError
from glmstore.heads.saving import load_probe
from glmstore.metrics import METRICS
from glmstore.models import get_model
from glmstore.models.spec import ModelSpec, Pretraining
from glmstore.probing import (
    ProbeSettings,
    Tuned,
    TuneSettings,
    failed_outcome,
    fit_data,
    plan_cell,
    pretraining_overlap,
    run_cell,
)
from glmstore.results import PredictionRow
from glmstore.store import FeatureStore
from glmstore.views import FeatureView

QUICK = {"learning_rate": 3e-3, "width": 0.1, "batch_size": 32}
SETTINGS = ProbeSettings(seeds=(0, 1), max_epochs=6, hyperparameters=QUICK, n_bootstrap=200)
LINEAR = ProbeSettings(seeds=(0, 1, 2), n_bootstrap=200)


def test_a_ridge_cell_scores_every_metric_of_its_benchmark_on_the_test_items(
    store: FeatureStore, pooled: FeatureView, items: pl.DataFrame
) -> None:
    cell = plan_cell(store, "counts", pooled, "ridge", LINEAR)
    outcome = run_cell(store, cell, pooled, settings=LINEAR)
    assert [row.metric for row in outcome.rows] == ["pearson_r", "r2"]
    test = items.filter(pl.col("split") == "test")
    assert outcome.predictions is not None
    assert outcome.predictions.columns == list(PredictionRow.model_fields)
    assert outcome.predictions["item_id"].to_list() == test["item_id"].to_list()
    assert outcome.predictions["cluster"].to_list() == test["cluster"].to_list()
    y, predicted = (outcome.predictions[c].to_numpy() for c in ("label", "prediction"))
    for row in outcome.rows:
        assert row.value == pytest.approx(METRICS[row.metric](y, predicted))
        assert row.ci_low is not None
        assert row.ci_high is not None
        assert row.ci_low < row.value < row.ci_high
        assert (row.status, row.n, row.seeds, row.control) == ("ok", 60, 1, "sequence")
        assert row.cell_key == cell.key
    assert outcome.rows[0].value > 0.9


def test_what_is_written_is_known_as_completed_and_read_back(
    store: FeatureStore, pooled: FeatureView
) -> None:
    cell = plan_cell(store, "counts", pooled, "ridge", LINEAR)
    assert store.completed([cell.key]) == set()
    run_cell(store, cell, pooled, settings=LINEAR).write(store)
    assert store.completed([cell.key]) == {cell.key}
    assert len(store.predictions([cell.key])) == 60
    assert set(store.results()["metric"]) == {"pearson_r", "r2"}


def test_a_head_without_randomness_is_fitted_once_whatever_the_seeds(
    store: FeatureStore, pooled: FeatureView
) -> None:
    assert plan_cell(store, "counts", pooled, "ridge", LINEAR).seeds == (0,)
    assert plan_cell(store, "counts", pooled, "mlp", LINEAR).seeds == (0, 1, 2)
    permuted = LINEAR.model_copy(update={"permute_labels": True})
    assert plan_cell(store, "counts", pooled, "ridge", permuted).seeds == (0, 1, 2)


def test_a_cell_of_several_seeds_reports_their_mean_and_keeps_each_one(
    store: FeatureStore, tokens: FeatureView, tmp_path: Path
) -> None:
    cell = plan_cell(store, "counts", tokens, "cnn", SETTINGS)
    seen: list[tuple[int, int]] = []
    outcome = run_cell(
        store, cell, tokens, settings=SETTINGS, save_to=tmp_path, progress=lambda *step: seen.append(step)
    )
    assert seen == [(1, 2), (2, 2)]
    assert outcome.predictions is not None
    parts = outcome.predictions.partition_by("seed")
    assert [part["seed"][0] for part in parts] == [0, 1]
    values = [METRICS["pearson_r"](p["label"].to_numpy(), p["prediction"].to_numpy()) for p in parts]
    assert values[0] != values[1]
    assert outcome.rows[0].value == pytest.approx(np.mean(values))
    assert outcome.rows[0].seeds == 2
    probes = json.loads(outcome.rows[0].details)["probes"]
    assert [p["seed"] for p in probes] == [0, 1]
    assert all(p["epochs"] == 6 and p["chosen"]["learning_rate"] == 3e-3 for p in probes)
    test = store.benchmark_items("counts").filter(pl.col("split") == "test")
    x = store.read(tokens, test["seq_key"].to_list()).values
    saved = load_probe(tmp_path / cell.key / "seed-1")
    np.testing.assert_allclose(saved.predict(x), parts[1]["prediction"].to_numpy(), rtol=1e-6)


def test_binary_predictions_are_probabilities(store: FeatureStore, pooled: FeatureView) -> None:
    cell = plan_cell(store, "classes", pooled, "logistic", LINEAR)
    outcome = run_cell(store, cell, pooled, settings=LINEAR)
    assert outcome.predictions is not None
    assert outcome.predictions["prediction"].is_between(0, 1).all()
    assert [row.metric for row in outcome.rows] == ["auroc", "auprc", "mcc"]
    assert outcome.rows[0].value is not None
    assert outcome.rows[0].value > 0.9


def test_permuted_labels_are_a_control_that_learns_nothing_and_says_what_it_is(
    store: FeatureStore, pooled: FeatureView
) -> None:
    settings = LINEAR.model_copy(update={"permute_labels": True})
    cell = plan_cell(store, "counts", pooled, "ridge", settings)
    row = run_cell(store, cell, pooled, settings=settings).rows[0]
    assert row.control == "label"
    assert "permuted labels" in row.protocol
    assert row.value is not None
    assert abs(row.value) < 0.5
    real = plan_cell(store, "counts", pooled, "ridge", LINEAR)
    assert (cell.key != real.key, cell.protocol != real.protocol) == (True, True)


def test_everything_that_changes_a_number_changes_the_cell_and_nothing_else_does(
    store: FeatureStore, pooled: FeatureView, tokens: FeatureView
) -> None:
    def key(view: FeatureView = pooled, head: str = "mlp", **changes: object) -> str:
        return plan_cell(store, "counts", view, head, SETTINGS.model_copy(update=changes)).key

    others = [
        key(tokens),
        key(head="ridge"),
        key(seeds=(0,)),
        key(max_epochs=7),
        key(max_train=50),
        key(n_bootstrap=100),
        key(permute_labels=True),
        key(hyperparameters={"width": 0.2}),
        key(tune=TuneSettings()),
        key(tune=TuneSettings(n_trials=3)),
    ]
    assert len({key(), *others}) == 11
    assert key(hyperparameters={**QUICK, "dropout": 0.5}) == key()  # the default, spelt out


def test_probes_trained_otherwise_are_not_compared(store: FeatureStore, pooled: FeatureView) -> None:
    def protocol(**changes: object) -> str:
        return plan_cell(store, "counts", pooled, "mlp", ProbeSettings(**changes)).protocol  # type: ignore[arg-type]

    assert protocol() == protocol(seeds=(7,)) == protocol(n_bootstrap=100) == "glmstore"
    assert protocol(hyperparameters={"dropout": 0.5}) == "glmstore"  # the default, spelt out
    assert protocol(max_epochs=6, hyperparameters={"width": 0.2, "dropout": 0.1}) == (
        "glmstore, dropout 0.1, width 0.2, 6 epochs at most"
    )
    assert protocol(max_train=5000, permute_labels=True) == "glmstore, 5,000 training items, permuted labels"


def test_training_items_are_limited_to_the_same_ones_in_every_run_and_test_items_are_not(
    store: FeatureStore, pooled: FeatureView, tokens: FeatureView
) -> None:
    first = fit_data(store, "counts", pooled, max_train=50)
    again = fit_data(store, "counts", tokens, max_train=50)
    np.testing.assert_array_equal(first.y_train, again.y_train)
    assert (len(first.y_train), len(first.y_valid)) == (50, 60)
    more = fit_data(store, "counts", pooled, max_train=51)
    assert set(first.y_train) < set(more.y_train)
    settings = LINEAR.model_copy(update={"max_train": 50})
    outcome = run_cell(
        store, plan_cell(store, "counts", pooled, "ridge", settings), pooled, settings=settings
    )
    assert outcome.rows[0].n == 60
    assert json.loads(outcome.rows[0].details)["n_train"] == 50


def test_features_of_test_items_are_not_read_to_train(
    store: FeatureStore, pooled: FeatureView, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[str] = set()
    read = FeatureStore.read

    def watched(self: FeatureStore, view: FeatureView, keys: list[str]):  # type: ignore[no-untyped-def]
        asked.update(keys)
        return read(self, view, keys)

    monkeypatch.setattr(FeatureStore, "read", watched)
    fit_data(store, "counts", pooled)
    items = store.benchmark_items("counts")
    assert asked == set(items.filter(pl.col("split") != "test")["seq_key"])


def test_a_cell_can_be_read_as_of_a_snapshot(store: FeatureStore, pooled: FeatureView) -> None:
    cell = plan_cell(store, "counts", pooled, "ridge", LINEAR)
    before = store.snapshot("before")
    store.drop(pooled)
    with pytest.raises(MissingFeaturesError):
        run_cell(store, cell, pooled, settings=LINEAR)
    row = run_cell(store, cell, pooled, settings=LINEAR, snapshot=before).rows[0]
    assert row.status == "ok"
    assert json.loads(row.details)["snapshot"] == "before"


def test_a_benchmark_that_changed_since_planning_is_refused(
    store: FeatureStore, pooled: FeatureView, make_spec: Callable[..., BenchmarkSpec], items: pl.DataFrame
) -> None:
    cell = plan_cell(store, "counts", pooled, "ridge", LINEAR)
    store.register_benchmark(
        make_spec("counts"), BenchmarkData(items.with_columns(label=pl.col("label") + 1))
    )
    with pytest.raises(StaleCellError, match="plan it again"):
        run_cell(store, cell, pooled, settings=LINEAR)


def test_what_does_not_go_together_is_a_head_error(
    store: FeatureStore, pooled: FeatureView, make_spec: Callable[..., BenchmarkSpec], items: pl.DataFrame
) -> None:
    def run(benchmark: str, head: str, settings: ProbeSettings = LINEAR) -> None:
        run_cell(store, plan_cell(store, benchmark, pooled, head, settings), pooled, settings=settings)

    with pytest.raises(HeadError, match="pooling 'tokens'"):
        run("counts", "cnn")
    with pytest.raises(HeadError, match="not binary"):
        run("classes", "ridge")
    with pytest.raises(HeadError, match="run the study first"):
        run("counts", "mlp", LINEAR.model_copy(update={"tune": TuneSettings()}))
    store.register_benchmark(make_spec("variants", label_kind="variant_effect"), BenchmarkData(items))
    with pytest.raises(HeadError, match="zero-shot"):
        run("variants", "ridge")
    untested = items.filter(pl.col("split") != "test")
    store.register_benchmark(make_spec("untested"), BenchmarkData(untested))
    with pytest.raises(HeadError, match="no items in its test split"):
        run("untested", "ridge")
    with pytest.raises(UnknownNameError, match="ridge"):
        plan_cell(store, "counts", pooled, "rigde", LINEAR)
    with pytest.raises(ValidationError, match="each seed"):
        ProbeSettings(seeds=(1, 1))


def test_a_failed_cell_is_one_failed_row_with_its_reason(store: FeatureStore, pooled: FeatureView) -> None:
    cell = plan_cell(store, "counts", pooled, "cnn", LINEAR)
    with pytest.raises(HeadError) as caught:
        run_cell(store, cell, pooled, settings=LINEAR)
    outcome = failed_outcome(cell, caught.value)
    (row,) = outcome.rows
    assert (row.status, row.value, row.n) == ("failed", None, 0)
    assert row.error is not None
    assert row.error.startswith("HeadError: head cnn")
    outcome.write(store)
    assert store.completed([cell.key]) == set()
    assert len(store.results(status="failed")) == 1


def test_tuned_hyperparameters_are_used_and_the_search_is_recorded(
    store: FeatureStore, pooled: FeatureView
) -> None:
    settings = ProbeSettings(seeds=(0,), n_bootstrap=100, tune=TuneSettings(n_trials=4, max_epochs=3))
    found = Tuned(
        study="s", hyperparameters={**QUICK}, trials=4, pruned=1, valid_score=0.5, default_score=0.4
    )
    cell = plan_cell(store, "counts", pooled, "mlp", settings)
    row = run_cell(store, cell, pooled, settings=settings, tuned=found).rows[0]
    details = json.loads(row.details)
    assert row.protocol == "glmstore, tuned, 4 trials of 3 epochs"
    assert (details["trials"], details["pruned"], details["valid_score"]) == (4, 1, 0.5)
    assert details["chosen"] == QUICK
    assert details["probes"][0]["chosen"]["width"] == 0.1
    assert details["probes"][0]["epochs"] == 3


def _model(pretraining: Pretraining | None) -> ModelSpec:
    return get_model("onehot").spec.model_copy(update={"pretraining": pretraining})


HUMAN_22 = Pretraining(species=("Homo sapiens",), assembly="GRCh37", chromosomes=("chr22",))


@pytest.mark.parametrize(
    ("pretraining", "benchmark", "expected"),
    [
        (None, {}, "not applicable"),
        (Pretraining(species=(), assembly=None, chromosomes=()), {}, "not applicable"),
        (HUMAN_22, {"chromosomes": ("chr21", "chr22")}, "yes"),
        (HUMAN_22, {"chromosomes": ("22",), "assembly": "GRCh38"}, "yes"),
        (HUMAN_22, {"chromosomes": ("chr2",)}, "none"),
        (HUMAN_22, {"chromosomes": None}, "possible"),
        (HUMAN_22.model_copy(update={"chromosomes": None}), {"chromosomes": ("chr1",)}, "possible"),
        (HUMAN_22, {"organism": "Escherichia coli", "chromosomes": ("chr22",)}, "none"),
        (HUMAN_22, {"organism": "not given"}, "possible"),
        (HUMAN_22.model_copy(update={"complete": False}), {"organism": "Danio rerio"}, "possible"),
    ],
)
def test_the_pretraining_overlap_is_stated(
    pretraining: Pretraining | None,
    benchmark: dict[str, object],
    expected: str,
    make_spec: Callable[..., BenchmarkSpec],
) -> None:
    assert pretraining_overlap(_model(pretraining), make_spec("b", **benchmark)) == expected
