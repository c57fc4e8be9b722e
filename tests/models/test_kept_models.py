from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from time import sleep

import pytest

from glmstore.errors import WeightsError
from glmstore.extraction import materialize
from glmstore.models import ModelEntry, get_model
from glmstore.models.kept import KEPT_MODELS, Kept, KeptModels
from glmstore.store import FeatureStore

KMER = get_model("kmer2")


def entry(name: str, revision: str = "1") -> ModelEntry:
    spec = KMER.spec.model_copy(update={"name": name, "revision": revision})
    return ModelEntry(spec, lambda device: KMER.load("cpu"))


def test_a_model_is_loaded_once_however_many_threads_ask_at_once() -> None:
    kept, together = KeptModels(), Barrier(8)

    def slow(device: str) -> object:
        sleep(0.1)
        return KMER.load(device)

    asked = ModelEntry(KMER.spec, slow)  # type: ignore[arg-type]

    def ask(_: int) -> object:
        together.wait()
        return kept.get(asked, "cpu")

    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(ask, range(8)))
    assert len(set(map(id, got))) == 1
    assert kept.loads == 1


def test_weights_pulled_anew_are_another_model() -> None:
    kept = KeptModels()
    old, new = kept.get(entry("m", "1"), "cpu"), kept.get(entry("m", "2"), "cpu")
    assert old is not new
    assert kept.get(entry("m", "2"), "cpu") is new


def test_two_models_are_kept_in_main_memory_and_one_on_a_gpu() -> None:
    kept = KeptModels()
    for name in "abc":
        kept.get(entry(name), "cpu")
        kept.get(entry(name), "cuda:1")
    assert set(kept.names()) == {Kept("b", "1", "cpu"), Kept("c", "1", "cpu"), Kept("c", "1", "cuda:1")}


def test_a_model_that_could_not_be_loaded_is_tried_again() -> None:
    tries = []

    def load(device: str) -> object:
        tries.append(device)
        if len(tries) == 1:
            raise WeightsError("truncated")
        return KMER.load(device)

    kept, asked = KeptModels(), ModelEntry(KMER.spec, load)  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match="truncated"):
        kept.get(asked, "cpu")
    assert kept.names() == []
    assert kept.get(asked, "cpu") is kept.get(asked, "cpu")
    assert len(tries) == 2


def test_filling_a_view_in_two_parts_loads_its_model_once() -> None:
    store, before = FeatureStore.open("memory://"), KEPT_MODELS.loads
    materialize(store, "gpn-mini", ["ACGTACGTAC"])
    materialize(store, "gpn-mini", ["ACGTACGTAA"])
    assert KEPT_MODELS.loads == before + 1


def test_controls_with_shuffled_weights_leave_the_kept_model_as_it_was() -> None:
    store = FeatureStore.open("memory://")
    plain = materialize(store, "gpn-mini", ["ACGTACGTAC"])
    before = store.read(plain.view, store.sequences()["seq_key"].to_list()).values
    materialize(store, "shuf_weights:gpn-mini:0", ["ACGTACGTAC"])
    materialize(store, "gpn-mini", ["ACGTACGTAC"], force=True)
    after = store.read(plain.view, store.sequences()["seq_key"].to_list()).values
    assert (before == after).all()
