import numpy as np

from flows.build_features import BuildFeaturesConfig, build_features
from glmstore.benchmarks.plans import ViewRequest
from glmstore.extraction import materialize
from glmstore.planning import FeatureUse, plan_features, resolve_view
from glmstore.store import FeatureStore

KMER = ViewRequest(model="kmer2")
ONE_HOT = ViewRequest(model="onehot", pooling="tokens", dtype="uint8")


def config(store: FeatureStore, *views: ViewRequest, **changes: object) -> BuildFeaturesConfig:
    uses = tuple(FeatureUse(benchmark="toy_gc", view=view) for view in views)
    return BuildFeaturesConfig(store=store.uri, uses=uses, **changes)  # type: ignore[arg-type]


def test_a_flow_fills_what_is_missing_and_a_second_one_computes_nothing(toy_store: FeatureStore) -> None:
    both = config(toy_store, KMER, ONE_HOT, chunk=100)
    first = build_features(both)
    assert (first.vectors_computed, first.vectors_reused) == (480, 0)
    keys = toy_store.benchmark_items("toy_gc")["seq_key"].to_list()
    assert toy_store.missing(resolve_view(KMER), keys) == []
    assert toy_store.read(resolve_view(ONE_HOT), keys).values.shape == (240, 40, 4)
    second = build_features(both)
    assert (second.vectors_computed, second.vectors_reused) == (0, 480)


def test_only_the_missing_keys_are_planned_in_chunks_of_the_size_asked(toy_store: FeatureStore) -> None:
    build_features(config(toy_store, KMER))
    plan = plan_features(toy_store, config(toy_store, KMER, ONE_HOT).uses, chunk=100)
    assert [len(c.seq_keys) for c in plan.chunks] == [100, 100, 40]
    assert {c.views for c in plan.chunks} == {(resolve_view(ONE_HOT),)}
    assert (plan.asked, plan.present) == (480, 240)


def test_views_of_one_model_that_lack_the_same_keys_share_their_chunks(toy_store: FeatureStore) -> None:
    layers = [ViewRequest(model="rand_init:gpn-mini:0", layer=layer) for layer in range(9)]
    build_features(config(toy_store, KMER))
    uses = config(toy_store, *layers, KMER, ONE_HOT).uses
    plan = plan_features(toy_store, uses, chunk=200)
    assert [(len(c.views), len(c.seq_keys), c.number, c.of) for c in plan.chunks] == [
        (9, 200, 1, 2),
        (9, 40, 2, 2),
        (1, 200, 1, 2),
        (1, 40, 2, 2),
    ]
    assert plan.chunks[0].name == "rand_init:gpn-mini:0, 9 views, 1/2"
    assert plan.chunks[3].name == f"{resolve_view(ONE_HOT).name} 2/2"
    assert (plan.asked, plan.present) == (11 * 240, 240)


def test_a_view_that_is_further_than_the_others_is_planned_apart(toy_store: FeatureStore) -> None:
    few, more = (ViewRequest(model="onehot", pooling=p) for p in ("mean", "tokens"))
    keys = toy_store.benchmark_items("toy_gc")["seq_key"].to_list()
    sequences = toy_store.sequences(keys[:100])["sequence"].to_list()
    materialize(toy_store, "onehot", sequences, view=resolve_view(more))
    plan = plan_features(toy_store, config(toy_store, few, more).uses)
    assert {(len(c.views), len(c.seq_keys)) for c in plan.chunks} == {(1, 100), (2, 140)}
    assert build_features(config(toy_store, few, more)).vectors_computed == 380
    assert plan_features(toy_store, config(toy_store, few, more).uses).chunks == ()


def test_force_computes_every_vector_again(toy_store: FeatureStore) -> None:
    build_features(config(toy_store, KMER))
    assert build_features(config(toy_store, KMER, force=True)).vectors_computed == 240


def test_force_leaves_the_vectors_of_other_sequences_where_they_are(toy_store: FeatureStore) -> None:
    view, others = resolve_view(KMER), ["ACGT" * 12, "GATTACA" * 7]
    materialize(toy_store, "kmer2", others, view=view)
    keys = toy_store.add_sequences(others)
    toy_store.forget(view, keys)
    toy_store.write(view, keys, np.zeros((2, 16), np.float16))
    build_features(config(toy_store, KMER))
    build_features(config(toy_store, KMER, force=True))
    assert not toy_store.read(view, keys).values.any()
    assert toy_store.missing(view, toy_store.benchmark_items("toy_gc")["seq_key"].to_list()) == []
