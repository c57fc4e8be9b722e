from __future__ import annotations

import numpy as np
import pytest

from glmstore.errors import ConflictingFeaturesError, NonFiniteFeatureError, ShapeError
from glmstore.store import FeatureStore


@pytest.fixture
def ready(store: FeatureStore, make_view, origin):
    view = make_view()
    keys = store.add_sequences(["AAAA", "CCCC", "GGGG"])
    store.declare(view, origin(4))
    return store, view, keys


@pytest.mark.parametrize(
    ("value", "says"),
    [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf"), (70_000.0, "float16 cannot hold")],
)
def test_a_number_that_cannot_be_stored_is_refused_with_its_key_and_nothing_is_written(
    ready, value, says
) -> None:
    store, view, keys = ready
    vectors = np.ones((3, 4))
    vectors[1, 2] = value
    with pytest.raises(NonFiniteFeatureError, match=says) as caught:
        store.write(view, keys, vectors)
    assert keys[1] in str(caught.value)
    assert "number 2" in str(caught.value)
    assert store.missing(view, keys) == keys


def test_the_largest_float16_and_its_subnormals_are_stored_as_they_are(ready) -> None:
    store, view, keys = ready
    extremes = np.array([[65504, -65504, 6e-8, -0.0]], np.float16)
    store.write(view, keys[:1], extremes)
    assert store.read(view, keys[:1]).values.tobytes() == extremes.tobytes()


@pytest.mark.parametrize("wrong", [-1.0, 256.0, 0.5, np.nan])
def test_a_uint8_view_takes_whole_numbers_to_255_only(
    store: FeatureStore, make_view, origin, wrong: float
) -> None:
    view = make_view(dtype="uint8")
    keys = store.add_sequences(["AAAA"])
    store.declare(view, origin(2))
    with pytest.raises(NonFiniteFeatureError, match=keys[0]):
        store.write(view, keys, np.array([[1.0, wrong]]))
    assert store.missing(view, keys) == keys


@pytest.mark.parametrize("shape", [(3, 5), (2, 4), (3, 4, 1), (12,), ()])
def test_vectors_that_do_not_fit_the_view_or_the_keys_are_refused(ready, shape) -> None:
    store, view, keys = ready
    with pytest.raises(ShapeError, match=r"takes numbers of shape \[3, 4\]"):
        store.write(view, keys, np.zeros(shape))
    assert store.missing(view, keys) == keys


def test_texts_and_complex_numbers_are_no_features(ready) -> None:
    store, view, keys = ready
    for dtype in ("U3", complex, object):
        with pytest.raises(ShapeError, match="takes numbers"):
            store.write(view, keys, np.zeros((3, 4)).astype(dtype))


def test_a_key_twice_in_one_write_is_stored_once_if_its_vectors_agree(ready) -> None:
    store, view, keys = ready
    vectors = np.arange(12).reshape(3, 4)
    assert store.write(view, [keys[0], keys[1], keys[0]], vectors[[0, 1, 0]]) == 2
    assert sum(batch.num_rows for batch in store.scan(view)) == 2
    np.testing.assert_array_equal(store.read(view, keys[:2]).values, vectors[:2])


def test_a_key_twice_in_one_write_with_other_numbers_is_refused_and_nothing_is_written(ready) -> None:
    store, view, keys = ready
    with pytest.raises(ConflictingFeaturesError, match=keys[0]):
        store.write(view, [keys[0], keys[1], keys[0]], np.arange(12).reshape(3, 4))
    assert store.missing(view, keys) == keys


def test_pooled_views_take_no_token_counts(ready) -> None:
    store, view, keys = ready
    with pytest.raises(ShapeError, match="takes no token counts"):
        store.write(view, keys, np.zeros((3, 4)), np.array([1, 1, 1]))


def test_a_dataset_needs_one_label_a_row(ready) -> None:
    store, view, keys = ready
    store.write(view, keys, np.zeros((3, 4)))
    with pytest.raises(ShapeError, match="as many labels"):
        store.torch_dataset(view, keys, [1.0, 2.0])
