from __future__ import annotations

import numpy as np
import pytest

from glmstore.errors import ConflictingFeaturesError, NonFiniteFeatureError, ShapeError
from glmstore.store import FeatureStore


@pytest.fixture
def ready(any_store: FeatureStore, make_view, origin):
    view = make_view(pooling="tokens")
    keys = any_store.add_sequences(["AAAA", "CC", "GGG", "TTTT"])
    any_store.declare(view, origin(3))
    values = np.arange(1, 49, dtype=np.float16).reshape(4, 4, 3)
    return any_store, view, keys, values, np.array([4, 2, 3, 4])


def test_rows_of_several_lengths_come_back_padded_with_zeros(ready) -> None:
    store, view, keys, values, lengths = ready
    assert store.write(view, keys, values, lengths) == 4
    read = store.read(view, [keys[1], keys[0], keys[1]])
    assert read.lengths.dtype == np.int32
    assert read.lengths.tolist() == [2, 4, 2]
    assert read.values.shape == (3, 4, 3)
    np.testing.assert_array_equal(read.values[1], values[0])
    np.testing.assert_array_equal(read.values[0, :2], values[1, :2])
    assert not read.values[0, 2:].any()


def test_the_width_read_is_that_of_the_longest_row_asked_for(ready) -> None:
    store, view, keys, values, lengths = ready
    store.write(view, keys, values, lengths)
    read = store.read(view, [keys[1]])
    np.testing.assert_array_equal(read.values, values[1:2, :2])
    assert store.read(view, []).values.shape == (0, 0, 3)


def test_without_lengths_every_row_has_all_tokens(ready) -> None:
    store, view, keys, values, _ = ready
    store.write(view, keys, values)
    read = store.read(view, keys[::-1])
    np.testing.assert_array_equal(read.values, values[::-1])
    assert read.lengths.tolist() == [4, 4, 4, 4]


def test_what_lies_in_the_padding_is_neither_checked_nor_stored(ready) -> None:
    store, view, keys, values, lengths = ready
    values[1, 2:] = np.nan
    store.write(view, keys, values, lengths)
    assert np.isfinite(store.read(view, keys).values).all()
    values[2, 1, 0] = np.inf
    with pytest.raises(NonFiniteFeatureError, match=keys[2]):
        store.write(view, keys, values, lengths)


def test_a_key_is_stored_under_one_token_count_only(ready) -> None:
    store, view, keys, values, lengths = ready
    store.write(view, keys, values, lengths)
    assert store.write(view, keys, values) == 0
    assert store.read(view, keys).lengths.tolist() == [4, 2, 3, 4]
    with pytest.raises(ConflictingFeaturesError, match=keys[0]):
        store.write(view, [keys[0], keys[0]], values[:2], np.array([4, 3]))


def test_missing_looks_through_every_token_count(ready) -> None:
    store, view, keys, values, lengths = ready
    store.write(view, keys[:2], values[:2], lengths[:2])
    assert store.missing(view, keys) == keys[2:]


def test_scan_tells_the_token_count_by_its_width(ready) -> None:
    store, view, keys, values, lengths = ready
    store.write(view, keys, values, lengths)
    widths = [batch.column("vector").type.list_size for batch in store.scan(view)]
    assert widths == [2 * 3, 3 * 3, 4 * 3]


@pytest.mark.parametrize(
    "lengths", [[0, 1, 1, 1], [5, 1, 1, 1], [1, 1, 1], [[1], [1], [1], [1]], [1.0, 1.0, 1.0, 1.0]]
)
def test_token_counts_outside_the_array_are_refused(ready, lengths) -> None:
    store, view, keys, values, _ = ready
    with pytest.raises(ShapeError, match=r"token counts|whole numbers"):
        store.write(view, keys, values, np.array(lengths))
    assert store.missing(view, keys) == keys


def test_a_token_dataset_gives_lengths_beside_rows(ready) -> None:
    store, view, keys, values, lengths = ready
    store.write(view, keys, values, lengths)
    x, length, y = store.torch_dataset(view, keys, [0, 1, 0, 1])[1]
    assert x.shape == (4, 3)
    assert (int(length), int(y)) == (2, 1)
