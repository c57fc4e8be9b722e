"""Filling a view: only what is missing, in large commits, and nothing from a batch that fails."""

import numpy as np
import pytest

from glmstore.errors import (
    EmptySequenceError,
    NonFiniteFeatureError,
    SequenceTooLongError,
    UnknownNameError,
    ViewConflictError,
    WeightsError,
)
from glmstore.extraction import embed, materialize, writing
from glmstore.models import get_model
from glmstore.models.architectures.language_model import LanguageModel
from glmstore.models.provenance import provenance_of
from glmstore.store import FeatureStore
from glmstore.views import FeatureView

SEQUENCES = ["ACGTTGCA", "GATTACAGATTACA", "TTT", "ACGNNACGT", "GATTACA"]


@pytest.fixture
def store() -> FeatureStore:
    return FeatureStore.open("memory://")


def test_a_view_is_filled_once_and_then_found(store: FeatureStore):
    first = materialize(store, "gpn-mini", SEQUENCES)
    again = materialize(store, "gpn-mini", SEQUENCES)
    assert (first.asked, first.present, first.computed) == (5, 0, 5)
    assert (again.asked, again.present, again.computed) == (5, 5, 0)
    assert first.view == again.view == get_model("gpn-mini").spec.view()


def test_what_is_stored_is_what_embedding_gives(store: FeatureStore):
    view = get_model("gpn-mini").spec.view(layer="last", pooling="max", dtype="float32", strand="mean")
    materialize(store, "gpn-mini", SEQUENCES, view=view)
    stored = store.read(view, store.add_sequences(SEQUENCES)).values
    model = get_model("gpn-mini").load("cpu")
    for chunk in embed(model, SEQUENCES, layer=view.layer, pooling="max", strand="mean", dtype="float32"):
        np.testing.assert_allclose(stored[chunk.indices], chunk.values, atol=5e-3)


def test_only_what_is_missing_is_computed(store: FeatureStore, monkeypatch: pytest.MonkeyPatch):
    materialize(store, "gpn-mini", SEQUENCES[:2])
    seen: list[str] = []
    encode = LanguageModel.encode
    monkeypatch.setattr(
        LanguageModel, "encode", lambda self, batch: seen.extend(batch) or encode(self, batch)
    )
    done = materialize(store, "gpn-mini", [*SEQUENCES, *SEQUENCES])
    assert (done.asked, done.present, done.computed) == (5, 2, 3)
    assert sorted(seen) == sorted(SEQUENCES[2:])


def test_a_full_view_is_found_without_loading_weights(store: FeatureStore, monkeypatch: pytest.MonkeyPatch):
    materialize(store, "gpn-mini", SEQUENCES)
    monkeypatch.setattr(LanguageModel, "__init__", None)
    assert materialize(store, "gpn-mini", SEQUENCES).computed == 0


def test_token_views_keep_every_length(store: FeatureStore):
    view = materialize(store, "onehot", SEQUENCES).view
    features = store.read(view, store.add_sequences(SEQUENCES))
    assert features.lengths.tolist() == [len(s) for s in SEQUENCES]
    assert features.values[2, :4].tolist() == [[0, 0, 0, 1]] * 3 + [[0, 0, 0, 0]]


def test_views_of_models_layers_and_poolings_lie_apart(store: FeatureStore):
    views = {
        materialize(store, "gpn-mini", SEQUENCES, layer=1).view.view_id,
        materialize(store, "gpn-mini", SEQUENCES, layer=2).view.view_id,
        materialize(store, "gpn-mini", SEQUENCES, layer=2, pooling="max").view.view_id,
        materialize(store, "rand_init:gpn-mini:0", SEQUENCES, layer=2).view.view_id,
        materialize(store, "rand_init:gpn-mini:1", SEQUENCES, layer=2).view.view_id,
    }
    assert len(views) == 5


def test_provenance_says_how_it_was_computed(store: FeatureStore):
    view = materialize(store, "gpn-mini", SEQUENCES).view
    origin = store.provenance(view)
    assert origin.weights_sha256 == get_model("gpn-mini").spec.weights_sha256
    assert origin.precision in {"float32", "bfloat16"}
    assert origin.dim == 96


def test_commits_are_made_as_work_goes_on(store: FeatureStore, monkeypatch: pytest.MonkeyPatch):
    """What was committed before an interruption stays, and the next run does the rest."""
    monkeypatch.setattr(writing, "COMMIT_ROWS", 1)
    view = get_model("kmer1").spec.view()
    sequences = ["A" * 16_000, "C" * 16_001, "G" * 16_002]

    def interrupt(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        materialize(store, "kmer1", sequences, progress=interrupt)
    keys = store.add_sequences(sequences)
    assert store.missing(view, keys) == keys[2:]
    assert materialize(store, "kmer1", sequences).computed == 1


def test_small_batches_share_one_commit(store: FeatureStore, monkeypatch: pytest.MonkeyPatch):
    written: list[int] = []
    write = FeatureStore.write

    def counting(self: FeatureStore, view: FeatureView, keys: list[str], *features: np.ndarray) -> int:
        written.append(len(keys))
        return write(self, view, keys, *features)

    monkeypatch.setattr(FeatureStore, "write", counting)
    materialize(store, "kmer1", ["A" * 9_000, "C" * 9_001, "G" * 9_002])
    assert written == [3]


def test_force_computes_what_is_asked_again_and_leaves_the_rest(store: FeatureStore):
    view = materialize(store, "kmer1", SEQUENCES).view
    keys = store.add_sequences(SEQUENCES)
    right = store.read(view, keys).values
    store.forget(view, keys[:3])
    store.write(view, keys[:3], np.zeros_like(right[:3]))
    done = materialize(store, "kmer1", SEQUENCES[:2], force=True)
    assert (done.present, done.computed) == (0, 2)
    np.testing.assert_array_equal(store.read(view, keys[:2]).values, right[:2])
    assert not store.read(view, keys[2:3]).values.any()
    np.testing.assert_array_equal(store.read(view, keys[3:]).values, right[3:])


def test_force_drops_a_view_that_other_weights_have_made(store: FeatureStore):
    spec = get_model("kmer1").spec
    view, keys = spec.view(), store.add_sequences(SEQUENCES)
    others = provenance_of(spec, "float32").model_copy(update={"weights_sha256": "0" * 64})
    store.declare(view, others)
    store.write(view, keys, np.zeros((5, spec.dim), np.float16))
    with pytest.raises(ViewConflictError):
        materialize(store, "kmer1", SEQUENCES[:2])
    materialize(store, "kmer1", SEQUENCES[:2], force=True)
    assert store.missing(view, keys) == keys[2:]
    assert store.provenance(view).weights_sha256 == spec.weights_sha256


def test_force_on_a_whole_view_records_its_origin_anew(store: FeatureStore):
    view = materialize(store, "kmer1", SEQUENCES).view
    before = store.views()["declared_at"].item()
    materialize(store, "kmer1", [*SEQUENCES, "CCC"], force=True)
    assert store.views()["declared_at"].item() > before
    assert store.missing(view, store.add_sequences([*SEQUENCES, "CCC"])) == []


def test_force_on_a_view_never_declared_just_fills_it(store: FeatureStore):
    assert materialize(store, "kmer1", SEQUENCES, force=True).computed == 5


def test_bad_sequences_are_refused_before_anything_is_written(store: FeatureStore):
    limit = get_model("gpn-mini").spec.max_nt
    with pytest.raises(SequenceTooLongError, match="AAAAA"):
        materialize(store, "gpn-mini", ["ACGT", "A" * (limit + 1)])
    with pytest.raises(EmptySequenceError):
        materialize(store, "gpn-mini", ["ACGT", ""])
    assert store.views().is_empty()
    assert store.sequences().is_empty()


def test_an_embedding_that_is_not_finite_is_not_written(store: FeatureStore, monkeypatch: pytest.MonkeyPatch):
    layers = LanguageModel.layers
    monkeypatch.setattr(LanguageModel, "layers", lambda *given: (x * float("nan") for x in layers(*given)))
    with pytest.raises(NonFiniteFeatureError, match="TTT"):
        materialize(store, "gpn-mini", SEQUENCES)
    view = get_model("gpn-mini").spec.view()
    assert len(store.missing(view, store.add_sequences(SEQUENCES))) == 5


def test_an_unknown_model_is_refused_with_a_suggestion(store: FeatureStore):
    with pytest.raises(UnknownNameError, match="gpn-mini"):
        materialize(store, "gpn-mimi", SEQUENCES)


def test_a_view_of_other_weights_is_not_filled_with_these(store: FeatureStore):
    old = get_model("gpn-mini").spec.view().model_copy(update={"revision": "0" * 64})
    with pytest.raises(WeightsError, match="000000000000; gpn-mini is now at"):
        materialize(store, "gpn-mini", SEQUENCES, view=old)


@pytest.mark.parametrize("force", [False, True])
def test_numbers_the_view_cannot_hold_leave_no_trace(store: FeatureStore, force: bool):
    view = get_model("gpn-mini").spec.view(dtype="uint8")
    with pytest.raises(NonFiniteFeatureError):
        materialize(store, "gpn-mini", SEQUENCES, view=view, force=force)
    assert store.views().is_empty()
    assert store.sequences().is_empty()


def test_force_keeps_the_old_rows_where_the_new_cannot_be_computed(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
):
    view = materialize(store, "gpn-mini", SEQUENCES).view
    monkeypatch.setattr(LanguageModel, "encode", None)
    with pytest.raises(TypeError):
        materialize(store, "gpn-mini", SEQUENCES, force=True)
    assert store.missing(view, store.add_sequences(SEQUENCES)) == []
