"""A suite on a store in object storage: every kind of work, its companions, and the rerun without work."""

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from flows.build_features import BuildFeaturesConfig, build_features
from flows.explain import ExplainConfig, explain
from flows.run_suite import RunSuiteConfig, run_suite
from glmstore.attribution.sites import SITES
from glmstore.benchmarks.base import BenchmarkData, BenchmarkSpec
from glmstore.benchmarks.plans import ExplainPlan, FineTunePlan, ProbePlan, TunePlan, VariantPlan, ViewRequest
from glmstore.benchmarks.suites import Suite
from glmstore.errors import UnknownNameError
from glmstore.extraction import materialize
from glmstore.models import get_model
from glmstore.objects import open_objects
from glmstore.planning import FeatureUse
from glmstore.report.summary import SuiteSummary
from glmstore.stages import Tally
from glmstore.store import FeatureStore
from glmstore.workspace import Workspace

LAC = SITES["sortseq_lac"].model_copy(update={"name": "toy_lac"})
TWIN = "rand_init:gpn-mini:0"
MODELS = (ViewRequest(model="kmer2"), ViewRequest(model="onehot", pooling="tokens", dtype="uint8"))
PROBES = ProbePlan(
    benchmark=LAC.name,
    heads=("ridge",),
    token_heads=("cnn",),
    token_models=("onehot",),
    max_epochs=1,
    tune=TunePlan(trials=2, max_epochs=1),
)
EXPLAIN = ExplainPlan(benchmark=LAC.name, n_backgrounds=10)
SUITE = Suite(
    name="everything",
    summary="every kind of work, little of each",
    models=MODELS,
    probes=(PROBES,),
    finetune=FineTunePlan(benchmark=LAC.name, models=(TWIN,), epochs=1, max_train=32, learning_rates=(1e-2,)),
    variants=VariantPlan(benchmarks=("toy_variants",), models=(TWIN,), scorers=("llr",)),
    explain=EXPLAIN,
)


def mutants(n: int = 100) -> list[str]:
    rng = np.random.default_rng(5)
    letters = np.array(list(LAC.reference))
    mutated = rng.random((n, len(letters))) < 0.1
    return ["".join(row) for row in np.where(mutated, rng.choice(list("ACGT"), mutated.shape), letters)]


def register(store: FeatureStore, described: dict[str, Any], sequences: list[str], **changes: Any) -> None:
    """Register sequences whose label is the number of G, as a benchmark like the one described."""
    n = len(sequences)
    items = pl.DataFrame(
        {
            "item_id": [f"item{i}" for i in range(n)],
            "sequence": sequences,
            "label": [float(s.count("G")) for s in sequences],
            "split": [["train", "train", "train", "valid", "test"][i % 5] for i in range(n)],
            "cluster": [f"c{i}" for i in range(n)],
        }
    )
    assets = {"reference": LAC.reference} if changes.get("label_kind") == "variant_effect" else {}
    if assets:
        items = items.with_columns(split=pl.lit("test"))
    store.register_benchmark(
        BenchmarkSpec.model_validate(described | {"sequence_length": 75} | changes),
        BenchmarkData(items, assets),
    )


@pytest.fixture
def uri(s3: Any, toy_store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store in S3 with a regression of lac promoters and their single changes."""
    monkeypatch.setattr("glmstore.attribution.explain.SITES", {LAC.name: LAC})
    uri = f"{s3.bucket('flows')}/{uuid.uuid4().hex}/store"
    store, described = FeatureStore.open(uri), toy_store.benchmark_spec("toy_gc").model_dump()
    register(store, described, mutants(), name=LAC.name)
    wild = LAC.reference
    single = [wild[:i] + letter + wild[i + 1 :] for i in range(20) for letter in "ACGT" if letter != wild[i]]
    register(store, described, single, name="toy_variants", label_kind="variant_effect")
    return uri


def test_every_kind_of_work_is_done_kept_beside_the_store_and_not_done_again(
    uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    config = RunSuiteConfig(store=uri, suite=SUITE)
    first = run_suite(config)
    assert isinstance(first, SuiteSummary)
    assert first.failed_cells == 0
    rows = FeatureStore.open(uri).results()
    assert rows["status"].unique().to_list() == ["ok"]
    heads = set(rows["head"])
    assert {"ridge", "mlp", "cnn", "lora", "llr"} <= heads
    assert any(head.startswith("gia") for head in heads)

    beside = Workspace.of(uri)
    kept = open_objects(beside.root).names()
    assert {name.partition("/")[0] for name in kept} >= {
        "adapters",
        "probes",
        "studies",
        "figures",
        "report.html",
    }
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("s3")] == []

    second = run_suite(config)
    assert (second.computed_cells, second.computed_vectors) == (0, 0)
    assert second.reused_cells == first.computed_cells

    (adapter,) = beside.names("adapters")
    place = f"{beside.adapters}/{adapter}"
    elsewhere = materialize(FeatureStore.open("memory://"), f"lora:{place}", mutants(3), layer=1)
    monkeypatch.setenv("GLMSTORE_STORE", uri)
    adapted = materialize(FeatureStore.open(uri), f"lora:{adapter}", mutants(3), layer=1)
    assert (elsewhere.computed, adapted.computed) == (3, 3)
    with pytest.raises(UnknownNameError, match=f"Did you mean {adapter}"):
        get_model(f"lora:{place[:-1]}")


def test_a_probe_that_is_gone_is_trained_again_to_be_explained(uri: str) -> None:
    only_cnn = PROBES.model_copy(update={"heads": (), "tune": None})
    build_features(BuildFeaturesConfig(store=uri, uses=(FeatureUse(benchmark=LAC.name, view=MODELS[1]),)))
    config = ExplainConfig(store=uri, plan=EXPLAIN, probes=(only_cnn,), models=MODELS[1:])
    done = explain(config)  # there was no probe at all
    beside = Workspace.of(uri)
    (name,) = beside.names("probes")
    beside.forget("probes", name)
    for figure in open_objects(beside.figures).names():
        open_objects(beside.figures).delete(figure)
    assert explain(config) == done
    assert beside.names("probes") == [name]
    assert explain(config) == Tally(reused=done.computed)
