"""Every flow, asked only what it would do: it tells, and leaves the store as it was."""

import csv
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from flows.build_features import BuildFeaturesConfig, build_features
from flows.explain import ExplainConfig, explain
from flows.finetune_adapters import FinetuneAdaptersConfig, finetune_adapters
from flows.pretrain import PretrainFlowConfig, pretrain
from flows.run_suite import RunSuiteConfig, run_suite
from flows.score_variants import ScoreVariantsConfig, score_variants
from flows.train_probes import TrainProbesConfig, train_probes
from glmstore.benchmarks.base import BenchmarkData, BenchmarkSpec
from glmstore.benchmarks.plans import ExplainPlan, FineTunePlan, ProbePlan, TunePlan, VariantPlan, ViewRequest
from glmstore.benchmarks.suites import Suite
from glmstore.errors import UnknownNameError
from glmstore.estimating import Plan, dry_runs, markdown
from glmstore.finetuning import FineTuneSettings
from glmstore.models.gpn_config import GPNConfig
from glmstore.planning import FeatureUse
from glmstore.pretraining import HoldOut, PretrainConfig
from glmstore.store import FeatureStore

TWIN = "rand_init:gpn-mini:0"
KMER = ViewRequest(model="kmer2")
ONE_HOT = ViewRequest(model="onehot", pooling="tokens", dtype="uint8")
NOT_PULLED = ViewRequest(model="gpn-brassicales")
RIDGE = ProbePlan(benchmark="toy_gc", heads=("ridge",))


@pytest.fixture(autouse=True)
def short_timings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_runs, "CALIBRATION_SECONDS", 0.0)
    monkeypatch.setattr("glmstore.estimating.pretraining.SECONDS", 0.0)


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def untouched(toy_store: FeatureStore, tmp_path: Path) -> Iterator[None]:
    before = files(tmp_path)
    yield
    assert files(tmp_path) == before


def planned(result: Any) -> Plan:
    assert isinstance(result, Plan)
    return result


def uses(*views: ViewRequest) -> tuple[FeatureUse, ...]:
    return tuple(FeatureUse(benchmark="toy_gc", view=view) for view in views)


@pytest.mark.usefixtures("untouched")
def test_features_are_counted_and_shown_in_the_ui(toy_store: FeatureStore) -> None:
    config = BuildFeaturesConfig(store=toy_store.uri, uses=uses(KMER, ONE_HOT), dry_run=True)
    plan = planned(build_features(config))
    assert [(f.model, f.asked, f.present, f.to_compute) for f in plan.features] == [
        ("kmer2", 240, 0, 240),
        ("onehot", 240, 0, 240),
    ]
    assert plan.size.value == 240 * 16 * 2 + 240 * 40 * 4
    keyed = ArtifactFilter(key=ArtifactFilterKey(any_=["dry-run-build-features"]))
    with get_client(sync_client=True) as client:
        (shown,) = client.read_artifacts(artifact_filter=keyed)
    assert shown.data == markdown(plan)
    assert "| kmer2, layer 0, mean, float16 | 240 | 0 | 240 |" in str(shown.data)


def test_after_the_real_run_nothing_is_left(toy_store: FeatureStore) -> None:
    suite = Suite(name="toy", summary="for tests", models=(KMER,), probes=(RIDGE,))
    config = RunSuiteConfig(store=toy_store.uri, suite=suite)
    dry = config.model_copy(update={"dry_run": True})
    before = planned(run_suite(dry))
    assert not before.is_done
    done = run_suite(config)
    assert not isinstance(done, Plan)
    assert done.computed_vectors == sum(f.vectors for f in before.features)
    assert done.computed_cells == sum(w.to_do for w in before.work)
    after = planned(run_suite(dry))
    assert after.is_done
    assert "Nothing is left to do" in markdown(after)
    again = planned(run_suite(dry.model_copy(update={"force": True})))
    assert sum(w.to_do for w in again.work) == sum(w.to_do for w in before.work)


def test_cells_to_come_are_timed_by_those_in_the_store(toy_store: FeatureStore) -> None:
    def config(*models: ViewRequest, **changes: bool) -> TrainProbesConfig:
        return TrainProbesConfig(store=toy_store.uri, probes=(RIDGE,), models=models, **changes)

    first = planned(train_probes(config(KMER, dry_run=True)))
    assert [w.time.basis for w in first.work] == ["unknown"]
    build_features(BuildFeaturesConfig(store=toy_store.uri, uses=uses(KMER)))
    train_probes(config(KMER))
    (work,) = planned(train_probes(config(KMER, ViewRequest(model="kmer3"), dry_run=True))).work
    assert (work.what, work.asked, work.present, work.to_do) == ("ridge on toy_gc", 2, 1, 1)
    assert work.time.basis == "estimate"
    assert "the median of 1 in the store" in work.time.how


@pytest.mark.usefixtures("untouched")
def test_probes_are_counted_head_by_head(toy_store: FeatureStore) -> None:
    probe = RIDGE.model_copy(update={"tune": TunePlan(trials=2, max_epochs=1)})
    config = TrainProbesConfig(
        store=toy_store.uri,
        probes=(probe,),
        models=(KMER, ViewRequest(model="gpn-mini")),
        seeds=(0, 1),
        dry_run=True,
    )
    found = {w.what: (w.asked, w.present) for w in planned(train_probes(config)).work}
    assert found == {
        "ridge on toy_gc": (2, 0),
        "ridge, permuted labels on toy_gc": (1, 0),
        "mlp, tuned, 2 trials of 1 epoch on toy_gc": (2, 0),
    }


@pytest.mark.usefixtures("untouched")
def test_adapters_are_counted(toy_store: FeatureStore) -> None:
    settings = FineTuneSettings(epochs=1, learning_rate=1e-2, other_learning_rates=(3e-2,))
    config = FinetuneAdaptersConfig(
        store=toy_store.uri, benchmark="toy_gc", models=("gpn-mini", TWIN), settings=settings, dry_run=True
    )
    (work,) = planned(finetune_adapters(config)).work
    assert (work.stage, work.asked, work.to_do) == ("adapters", 2, 2)
    assert "2 learning rates each" in work.what


def test_variants_and_the_windows_they_need_are_counted(toy_store: FeatureStore, tmp_path: Path) -> None:
    reference = "ACGTTGCAAGCTTACG"
    snvs = [(i, ref, alt) for i, ref in enumerate(reference) for alt in "ACGT" if alt != ref]
    items = pl.DataFrame(
        {
            "item_id": [f"{i}{ref}>{alt}" for i, ref, alt in snvs],
            "sequence": [reference[:i] + alt + reference[i + 1 :] for i, _, alt in snvs],
            "label": np.linspace(-1, 1, len(snvs)),
            "split": ["test"] * len(snvs),
            "cluster": [str(i) for i, _, _ in snvs],
        }
    )
    described = toy_store.benchmark_spec("toy_gc").model_dump()
    described |= {"name": "toy_variants", "label_kind": "variant_effect", "sequence_length": 16}
    spec = BenchmarkSpec.model_validate(described)
    toy_store.register_benchmark(spec, BenchmarkData(items, {"reference": reference}))
    before = files(tmp_path)
    plan = VariantPlan(benchmarks=("toy_variants",), models=(TWIN,))
    config = ScoreVariantsConfig(store=toy_store.uri, plan=plan, dry_run=True)
    found = planned(score_variants(config))
    assert [w.what for w in found.work] == [
        "llr on toy_variants, 48 variants",
        "cosine on toy_variants, 48 variants",
    ]
    (windows,) = found.features
    assert (windows.model, windows.pooling, windows.to_compute) == (TWIN, "tokens", 49)
    assert windows.size.value == 49 * 16 * 96 * 2
    assert files(tmp_path) == before
    score_variants(config.model_copy(update={"dry_run": False}))
    after = planned(score_variants(config))
    assert after.is_done
    assert after.features == ()


@pytest.mark.usefixtures("untouched")
def test_an_explanation_without_known_sites_is_refused_as_in_the_run(toy_store: FeatureStore) -> None:
    plan = ProbePlan(benchmark="toy_gc", heads=(), token_heads=("cnn",), token_models=("onehot",))
    config = ExplainConfig(
        store=toy_store.uri,
        plan=ExplainPlan(benchmark="toy_gc"),
        probes=(plan,),
        models=(ONE_HOT,),
        dry_run=True,
    )
    with pytest.raises(UnknownNameError, match="toy_gc"):
        explain(config)


@pytest.mark.usefixtures("untouched")
def test_a_stage_that_would_fail_is_named_and_the_others_are_planned(toy_store: FeatureStore) -> None:
    suite = Suite(
        name="toy",
        summary="for tests",
        models=(KMER,),
        probes=(RIDGE,),
        finetune=FineTunePlan(benchmark="toy_gc", models=("kmer2",)),
        explain=ExplainPlan(benchmark="toy_gc"),
    )
    plan = planned(run_suite(RunSuiteConfig(store=toy_store.uri, suite=suite, dry_run=True)))
    assert [u.what for u in plan.unplanned] == ["adapters", "explanations"]
    assert all(u.why.startswith("would fail: ") for u in plan.unplanned)
    assert [w.stage for w in plan.work] == ["probes"]


@pytest.mark.usefixtures("untouched")
def test_a_model_that_was_not_pulled_is_planned_and_said_to_be_missing(toy_store: FeatureStore) -> None:
    suite = Suite(name="toy", summary="for tests", models=(KMER, NOT_PULLED), probes=(RIDGE,))
    plan = planned(run_suite(RunSuiteConfig(store=toy_store.uri, suite=suite, dry_run=True)))
    by_model = {f.model: f for f in plan.features}
    assert by_model["gpn-brassicales"].size.value == 240 * 512 * 2
    (missing,) = plan.unplanned
    assert missing.what == "gpn-brassicales"
    assert "glmstore models pull gpn-brassicales" in missing.why
    (work,) = plan.work
    assert work.asked == 1


def test_a_benchmark_that_is_not_here_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLMSTORE_MIRROR", raising=False)
    monkeypatch.setenv("GLMSTORE_CACHE", str(tmp_path / "empty-cache"))
    uri = tmp_path / "nowhere" / "store"
    asked = (FeatureUse(benchmark="sortseq_lac", view=KMER),)
    plan = planned(build_features(BuildFeaturesConfig(store=str(uri), uses=asked, dry_run=True)))
    assert plan.features == ()
    assert not plan.is_done
    (missing,) = plan.unplanned
    assert "glmstore data pull sortseq_lac" in missing.why
    assert not uri.parent.exists()
    assert not (tmp_path / "empty-cache").exists()


def test_pretraining_tells_its_steps_and_writes_no_checkpoint(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    records = [(1000 + 4000 * i, "".join(rng.choice(list("ACGT"), 3000))) for i in range(4)]
    fasta = tmp_path / "toy.fa"
    fasta.write_text("".join(f">chrT:{start}-{start + 3000}\n{seq}\n" for start, seq in records))
    training = PretrainConfig(
        fasta=fasta,
        out_dir=tmp_path / "run",
        architecture=GPNConfig(hidden_size=16, n_layers=2, kernel_size=5),
        holdout=HoldOut(region_nt=800, every=5, offset=2),
        steps=6,
        batch_nt=640,
        crop_lengths=(40, 64),
        eval_every=3,
        eval_windows=4,
        precision="float32",
    )
    config = PretrainFlowConfig(training=training, export_to=tmp_path / "model", name="toy", dry_run=True)
    plan = planned(pretrain(config))
    (work,) = plan.work
    assert (work.asked, work.present, work.time.basis) == (6, 0, "measured")
    assert any("3,840 nt seen in all" in note for note in plan.notes)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["toy.fa"]
    pretrain(config.model_copy(update={"dry_run": False}))
    assert planned(pretrain(config)).is_done


def test_run_with_dry_run_needs_no_server_and_makes_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    source = tmp_path / "my.csv"
    with source.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sequence", "label"])
        for _ in range(200):
            sequence = "".join(rng.choice(list("ACGT"), size=50))
            writer.writerow([sequence, sequence.count("G") + rng.normal()])
    own = {"PREFECT_HOME": str(tmp_path / "prefect"), "GLMSTORE_STORE": str(tmp_path / "store")}
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    command = [sys.executable, "-c", "from flows.cli import main; main()", "run", str(source), "--dry-run"]
    done = subprocess.run(
        [*command, "--seeds", "1", "--json"],
        cwd=tmp_path,
        env=kept | own,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {f["model"] for f in found["features"]} == {"gpn-mini", TWIN, "kmer4", "onehot"}
    assert all(f["asked"] == 200 for f in found["features"])
    assert {w["what"] for w in found["work"]} == {
        "ridge on my",
        "ridge, permuted labels on my",
        "mlp, tuned, 8 trials of 8 epochs on my",
        "cnn, learning_rate 0.001, width 0.5, 15 epochs at most on my",
    }
    assert [p.name for p in tmp_path.iterdir()] == ["my.csv"]
