"""The readers as flows, on data small enough for a test; their numbers are tested with their libraries."""

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import tasks.pretraining
from flows.explain import ExplainConfig, explain
from flows.finetune_adapters import FinetuneAdaptersConfig, finetune_adapters
from flows.outcomes import WorkFailedError
from flows.pretrain import PretrainFlowConfig, pretrain
from flows.run_suite import RunSuiteConfig, run_suite
from flows.score_variants import ScoreVariantsConfig, score_variants
from flows.train_probes import TrainProbesConfig, train_probes
from glmstore.benchmarks.base import BenchmarkData, BenchmarkSpec
from glmstore.benchmarks.plans import ExplainPlan, FineTunePlan, ProbePlan, TunePlan, VariantPlan, ViewRequest
from glmstore.benchmarks.suites import Suite
from glmstore.errors import TableError, UnknownNameError, WeightsError
from glmstore.estimating import Plan
from glmstore.extraction import materialize
from glmstore.finetuning import FineTuneSettings, load_finetuned
from glmstore.models import get_model
from glmstore.models.gpn_config import GPNConfig
from glmstore.objects import Objects, open_objects
from glmstore.planning import plan_probes
from glmstore.pretraining import HoldOut, PretrainConfig
from glmstore.report.summary import SuiteSummary
from glmstore.stages import Tally
from glmstore.store import FeatureStore
from glmstore.workspace import Workspace
from tasks.probes import train_probe

TWIN = "rand_init:gpn-mini:0"
CAUSAL = "rand_init:hyenadna-tiny-1k:0"
KMER = ViewRequest(model="kmer2")


def test_tuning_goes_on_where_it_stopped_and_its_choice_is_recorded(toy_store: FeatureStore) -> None:
    sequences = toy_store.benchmark_items("toy_gc")["sequence"].to_list()
    materialize(toy_store, "kmer2", sequences)

    def config(trials: int) -> TrainProbesConfig:
        plan = ProbePlan(benchmark="toy_gc", heads=(), tune=TunePlan(trials=trials, max_epochs=2))
        return TrainProbesConfig(store=toy_store.uri, probes=(plan,), models=(KMER,), trials_a_task=2)

    assert train_probes(config(3)) == Tally(computed=1)
    assert train_probes(config(3)) == Tally(reused=1)
    assert train_probes(config(5)) == Tally(computed=1)
    details = toy_store.results(metric="pearson_r")["details"].to_list()
    assert ['"trials": 3' in details[0], '"trials": 5' in details[1]] == [True, True]
    journals = list(Workspace.of(toy_store.uri).studies.glob("*.journal"))
    assert len(journals) == 1, "the longer search went on with the trials of the shorter"


def test_an_adapter_is_trained_saved_judged_and_embeds_a_view_of_its_own(toy_store: FeatureStore) -> None:
    settings = FineTuneSettings(rank=2, layer=1, epochs=1, max_train=64, batch_size=16, seeds=(0,))
    config = FinetuneAdaptersConfig(
        store=toy_store.uri, benchmark="toy_gc", models=(TWIN,), settings=settings
    )
    assert finetune_adapters(config) == Tally(computed=1)
    assert finetune_adapters(config) == Tally(reused=1)
    (adapter,) = Workspace.of(toy_store.uri).adapters.iterdir()
    adapted = materialize(toy_store, f"lora:{adapter}", ["ACGTACGTAC"], layer=1)
    plain = materialize(toy_store, TWIN, ["ACGTACGTAC"], layer=1)
    keys = toy_store.add_sequences(["ACGTACGTAC"])
    assert adapted.view != plain.view
    ours, base = (toy_store.read(m.view, keys).values for m in (adapted, plain))
    assert not np.allclose(ours, base)


def test_a_damaged_adapter_is_refused_by_name_and_trained_again_when_forced(toy_store: FeatureStore) -> None:
    settings = FineTuneSettings(rank=2, layer=1, epochs=1, max_train=64, batch_size=16, seeds=(0,))
    config = FinetuneAdaptersConfig(
        store=toy_store.uri, benchmark="toy_gc", models=(TWIN,), settings=settings
    )
    finetune_adapters(config)
    (adapter,) = Workspace.of(toy_store.uri).adapters.iterdir()
    weights = adapter / "adapter_model.safetensors"
    for damaged in (weights, adapter / "manifest.json"):
        damaged.write_bytes(damaged.read_bytes()[:40])
        assert finetune_adapters(config) == Tally(reused=1)
        with pytest.raises(WeightsError, match=rf"{damaged.name}.*fine-tune again with --force"):
            load_finetuned(adapter)
        assert finetune_adapters(config.model_copy(update={"force": True})) == Tally(computed=1)
        load_finetuned(adapter)


def vanish(objects: Objects, name: str) -> None:
    objects.delete(name)


def cut(objects: Objects, name: str) -> None:
    objects.put(name, (objects.get(name) or b"")[:40])


def empty_index(objects: Objects, name: str) -> None:
    objects.put(f"{name.partition('/')[0]}/index.json", b"")


@pytest.mark.parametrize(
    ("place", "damage"),
    [("directory", vanish), ("directory", cut), ("s3", vanish), ("s3", cut), ("s3", empty_index)],
)
def test_a_damaged_probe_is_as_good_as_gone_and_trained_again(
    toy_store: FeatureStore,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    place: str,
    damage: Callable[[Objects, str], None],
) -> None:
    store = toy_store
    if place == "s3":
        store = FeatureStore.open(f"{request.getfixturevalue('s3').bucket('damage')}/{uuid.uuid4().hex}")
        items = toy_store.benchmark_items("toy_gc").select("item_id", "sequence", "label", "split", "cluster")
        store.register_benchmark(toy_store.benchmark_spec("toy_gc"), BenchmarkData(items))
    materialize(store, "kmer2", store.benchmark_items("toy_gc")["sequence"].to_list())
    (job,) = plan_probes(store, [ProbePlan(benchmark="toy_gc", heads=("ridge",))], [KMER], (0,))
    beside = Workspace.of(store.uri)
    assert job.folder(beside) is None
    assert "gone" not in caplog.text, "nothing is wrong with a probe that was never trained"
    train_probe.fn(job)
    probes = open_objects(beside.probes)
    damage(probes, next(name for name in probes.names() if name.endswith(".safetensors")))
    monkeypatch.setenv("GLMSTORE_CACHE", str(tmp_path / "of-another-machine"))
    with pytest.raises(WeightsError, match=r"again"):
        job.probe(beside)
    assert job.folder(beside) is None
    assert f"the probe of cell {job.cell.key} is as good as gone" in caplog.text
    train_probe.fn(job, force=True)
    monkeypatch.setenv("GLMSTORE_CACHE", str(tmp_path / "of-a-third"))
    assert job.folder(beside) is not None
    assert job.probe(beside).head == "ridge"


@pytest.fixture
def variant_store(toy_store: FeatureStore) -> FeatureStore:
    """The store with every SNV of 16 nucleotides besides."""
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
    described = toy_store.benchmark_spec("toy_gc").model_dump() | {
        "name": "toy_variants",
        "label_kind": "variant_effect",
        "sequence_length": 16,
    }
    spec = BenchmarkSpec.model_validate(described)
    toy_store.register_benchmark(spec, BenchmarkData(items, {"reference": reference}))
    return toy_store


def test_variants_are_scored_by_every_scorer_that_a_model_serves(variant_store: FeatureStore) -> None:
    plan = VariantPlan(benchmarks=("toy_variants",), models=("gpn-mini", TWIN, CAUSAL))
    suite = Suite(name="toy", summary="x", models=(ViewRequest(model=TWIN),), variants=plan)
    summary = run_suite(RunSuiteConfig(store=variant_store.uri, suite=suite))
    assert isinstance(summary, SuiteSummary)
    assert (summary.computed_cells, summary.failed_cells) == (6, 0)
    config = ScoreVariantsConfig(store=variant_store.uri, plan=plan)
    assert score_variants(config) == Tally(reused=6)
    rows = variant_store.results(benchmark="toy_variants")
    assert set(rows.select("model", "head").iter_rows()) == {
        ("gpn-mini", "llr"),
        ("gpn-mini", "cosine"),
        (TWIN, "llr"),
        (TWIN, "cosine"),
        (CAUSAL, "causal-llr"),
        (CAUSAL, "cosine"),
    }
    assert rows["n"].unique().to_list() == [48]
    assert rows["status"].unique().to_list() == ["ok"]


def test_a_scorer_asked_of_a_model_that_cannot_serve_it_is_a_failed_row_among_finished_ones(
    variant_store: FeatureStore,
) -> None:
    plan = VariantPlan(benchmarks=("toy_variants",), models=(CAUSAL, TWIN), scorers=("llr",))
    config = ScoreVariantsConfig(store=variant_store.uri, plan=plan)
    with pytest.raises(WorkFailedError, match=f"llr on toy_variants with {CAUSAL}: ScorerError") as failed:
        score_variants(config)
    assert failed.value.tally == Tally(computed=1, failed=1)
    rows = variant_store.results(benchmark="toy_variants")
    assert set(rows.select("model", "status").iter_rows()) == {(TWIN, "ok"), (CAUSAL, "failed")}
    dry = score_variants(config.model_copy(update={"dry_run": True}))
    assert isinstance(dry, Plan)
    assert [u.what for u in dry.unplanned] == [f"llr on toy_variants with {CAUSAL}"]
    assert [(w.asked, w.to_do) for w in dry.work] == [(1, 0)]


def test_a_benchmark_without_known_sites_is_not_explained(toy_store: FeatureStore) -> None:
    one_hot = ViewRequest(model="onehot", pooling="tokens", dtype="uint8")
    plan = ProbePlan(benchmark="toy_gc", heads=(), token_heads=("cnn",), token_models=("onehot",))
    config = ExplainConfig(
        store=toy_store.uri, plan=ExplainPlan(benchmark="toy_gc"), probes=(plan,), models=(one_hot,)
    )
    with pytest.raises(UnknownNameError, match="toy_gc"):
        explain(config)


def test_pretraining_runs_exports_and_resumes_as_a_flow(tmp_path: Path) -> None:
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
        checkpoint_minutes=0,
    )
    config = PretrainFlowConfig(
        training=training,
        export_to=tmp_path / "model",
        name="toy-gpn",
        species=("Zea mays",),
        assembly="toy1",
        licence="CC0-1.0",
    )
    checkpoint = pretrain(config)
    assert isinstance(checkpoint, str)
    assert Path(checkpoint).is_dir()
    card = (tmp_path / "model" / "MODEL_CARD.md").read_text()
    assert "# toy-gpn" in card
    assert "Trained on Zea mays, toy1" in card
    assert "CC0-1.0 for the weights" in card
    weights = (tmp_path / "model" / "model.safetensors").read_bytes()
    assert pretrain(config) == checkpoint
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == weights


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a GPN of two blocks was exported to."""
    monkeypatch.setenv("GLMSTORE_MODELS", str(tmp_path / "shelf"))
    fasta = tmp_path / "two.fa"
    fasta.write_text(f">chr1\n{'ACGGTTCATACG' * 60}\n>chr2\n{'TTGACACATCGA' * 40}\n")
    training = PretrainConfig(
        fasta=fasta,
        out_dir=tmp_path / "run",
        architecture=GPNConfig(hidden_size=16, n_layers=2, kernel_size=5),
        holdout=HoldOut(names=("chr2",)),
        steps=3,
        batch_nt=320,
        crop_lengths=(40,),
        precision="float32",
    )
    pretrain(PretrainFlowConfig(training=training, export_to=tmp_path / "model", name="toy"))
    return tmp_path / "model"


def test_what_pretrain_exported_goes_through_the_other_flows_under_one_name(
    trained: Path, variant_store: FeatureStore
) -> None:
    asked, name = f"gpn:{trained}", get_model(f"gpn:{trained}").name
    tuned = FineTunePlan(benchmark="toy_gc", models=(asked,), epochs=1, max_train=32, learning_rates=(1e-2,))
    suite = Suite(
        name="toy",
        summary="x",
        models=(ViewRequest(model=asked), ViewRequest(model=f"rand_init:{asked}:0")),
        probes=(ProbePlan(benchmark="toy_gc", heads=("ridge",)),),
        finetune=tuned,
        variants=VariantPlan(benchmarks=("toy_variants",), models=(asked,), scorers=("llr",)),
        seeds=(0,),
    )
    config = RunSuiteConfig(store=variant_store.uri, suite=suite)
    dry = run_suite(config.model_copy(update={"dry_run": True}))
    assert isinstance(dry, Plan)
    assert not dry.unplanned
    summary = run_suite(config)
    assert isinstance(summary, SuiteSummary)
    assert (summary.failed_cells, summary.computed_vectors) == (0, 480)
    rows = variant_store.results().filter(pl.col("control") != "label")
    twin = f"rand_init:{name}:0"
    assert set(rows.select("model", "head").iter_rows()) == {
        *((name, head) for head in ("ridge", "lora", "llr")),
        (twin, "ridge"),
    }
    shutil.rmtree(trained)
    by_name = suite.model_copy(
        update={"models": (ViewRequest(model=name),), "finetune": None, "variants": None}
    )
    again = run_suite(config.model_copy(update={"suite": by_name}))
    assert isinstance(again, SuiteSummary)
    assert (again.computed_vectors, again.computed_cells) == (0, 0)


def test_pretraining_on_a_corpus_that_is_not_there_fails_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[PretrainConfig] = []
    real = tasks.pretraining.pretrain

    def counted(config: PretrainConfig, *how: Any) -> Any:
        tries.append(config)
        return real(config, *how)

    monkeypatch.setattr(tasks.pretraining, "pretrain", counted)
    training = PretrainConfig(fasta=tmp_path / "none.fa", out_dir=tmp_path / "run", steps=1)
    with pytest.raises(TableError, match=r"none\.fa"):
        pretrain(PretrainFlowConfig(training=training))
    assert tries == [training]
