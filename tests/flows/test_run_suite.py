from pathlib import Path

import pytest

from flows.outcomes import WorkFailedError
from flows.run_suite import RunSuiteConfig, run_suite
from glmstore.benchmarks.plans import ExplainPlan, ProbePlan, TunePlan, ViewRequest
from glmstore.benchmarks.suites import Suite, get_suite
from glmstore.errors import HeadError
from glmstore.report.record import load_summary
from glmstore.store import FeatureStore
from glmstore.workspace import Workspace

MODELS = (ViewRequest(model="kmer2"), ViewRequest(model="onehot", pooling="tokens", dtype="uint8"))


def suite(*heads: str, tune: TunePlan | None = None) -> Suite:
    plan = ProbePlan(benchmark="toy_gc", heads=heads, tune=tune)
    return Suite(name="My_toy", summary="for tests", models=MODELS, probes=(plan,), seeds=(0, 1))


def test_a_suite_tunes_trains_and_reports_and_then_computes_nothing(toy_store: FeatureStore) -> None:
    config = RunSuiteConfig(store=toy_store.uri, suite=suite("ridge", tune=TunePlan(trials=3, max_epochs=3)))
    first = run_suite(config)
    assert (first.computed_cells, first.computed_vectors, first.failed_cells) == (4, 480, 0)
    board = toy_store.results()
    assert set(board["head"]) == {"ridge", "mlp"}
    assert set(board["status"]) == {"ok"}
    kmer = board.filter(model="kmer2", head="ridge", metric="pearson_r").row(0, named=True)
    assert kmer["value"] > 0.9
    assert kmer["ci_low"] < kmer["value"] < kmer["ci_high"]
    beside = Workspace.of(toy_store.uri)
    assert "toy_gc" in beside.report.read_text()
    assert load_summary(beside.root) == first

    second = run_suite(config)
    assert (second.computed_cells, second.computed_vectors) == (0, 0)
    assert (second.reused_cells, second.reused_vectors) == (4, 480)


def test_a_failed_cell_is_a_failed_row_and_fails_the_flow_after_the_rest(
    toy_store: FeatureStore,
) -> None:
    config = RunSuiteConfig(store=toy_store.uri, suite=suite("ridge", "logistic"))
    with pytest.raises(WorkFailedError, match=r"logistic on toy_gc with kmer2: HeadError") as caught:
        run_suite(config)
    assert caught.value.tally.failed == 2
    results = toy_store.results()
    failed = results.filter(status="failed")
    assert failed["head"].unique().to_list() == ["logistic"]
    assert failed["value"].null_count() == 2
    assert all("HeadError" in error for error in failed["error"])
    assert results.filter(head="ridge", status="ok").height > 0
    summary = load_summary(Workspace.of(toy_store.uri).root)
    assert summary is not None
    assert summary.failed_cells == 2


def test_what_cannot_be_fetched_is_left_out_by_name(
    toy_store: FeatureStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GLMSTORE_OFFLINE", "1")
    monkeypatch.setenv("GLMSTORE_MIRROR", str(tmp_path / "empty-mirror"))
    monkeypatch.setenv("GLMSTORE_CACHE", str(tmp_path / "empty-cache"))
    unreachable = ProbePlan(benchmark="gue_tf_0", heads=("logistic",))
    both = suite("ridge").model_copy(update={"probes": (*suite("ridge").probes, unreachable)})
    summary = run_suite(RunSuiteConfig(store=toy_store.uri, suite=both))
    ((name, why),) = summary.left_out
    assert name == "gue_tf_0"
    assert "GLMSTORE_MIRROR" in why
    assert summary.computed_cells > 0


def test_a_suite_may_be_named_in_a_deployment() -> None:
    assert RunSuiteConfig(store="x", suite="demo").resolved() == get_suite("demo")


def test_a_flow_refuses_a_store_that_lives_in_one_process_only() -> None:
    with pytest.raises(ValueError, match="memory:// lives in one process"):
        RunSuiteConfig(store="memory://", suite=get_suite("demo"))


def test_a_search_that_fails_costs_its_own_cells_only_and_leaves_their_failed_rows(
    toy_store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object, **__: object) -> None:
        raise HeadError("no trial today")

    monkeypatch.setattr("tasks.probes.run_trials", break_down)
    asked = suite("ridge", tune=TunePlan(trials=2, max_epochs=2))
    with pytest.raises(WorkFailedError, match="mlp on toy_gc with kmer2"):
        run_suite(RunSuiteConfig(store=toy_store.uri, suite=asked))
    results = toy_store.results()
    assert results.filter(head="ridge", status="ok")["model"].n_unique() == 2
    failed = results.filter(head="mlp")
    assert failed["status"].unique().to_list() == ["failed"]
    assert failed["model"].n_unique() == 2


def test_a_stage_that_breaks_does_not_keep_the_others_from_running_and_reporting(
    toy_store: FeatureStore,
) -> None:
    nothing_known = ExplainPlan(benchmark="toy_gc")
    asked = suite("ridge").model_copy(update={"explain": nothing_known})
    with pytest.raises(WorkFailedError, match="explain: HeadError"):
        run_suite(RunSuiteConfig(store=toy_store.uri, suite=asked))
    assert toy_store.results()["head"].unique().to_list() == ["ridge"]
    assert Workspace.of(toy_store.uri).report.exists()
