"""Features taken out of a view: just those, for every reader, beside whatever else is going on."""

from __future__ import annotations

import threading
from datetime import timedelta

import numpy as np
import pytest

from glmstore.errors import (
    MissingFeaturesError,
    ReadOnlySnapshotError,
    SequenceKeyError,
    UnknownNameError,
)
from glmstore.store import FeatureStore

AT_ONCE = timedelta(microseconds=1)


def test_only_the_features_named_are_gone_and_they_can_be_written_anew(any_store: FeatureStore, fill) -> None:
    view, keys, vectors = fill(any_store)
    other, _, _ = fill(any_store, layer=2)
    any_store.forget(view, [*keys[5:12], keys[5], "f" * 32])
    assert any_store.missing(view, keys) == keys[5:12]
    with pytest.raises(MissingFeaturesError):
        any_store.read(view, keys[4:6])
    left = keys[:5] + keys[12:]
    np.testing.assert_array_equal(
        any_store.read(view, left[::-1]).values, np.concatenate([vectors[:5], vectors[12:]])[::-1]
    )
    assert [row for batch in any_store.scan(view) for row in batch["seq_key"].to_pylist()] == left
    assert any_store.missing(other, keys) == []
    assert any_store.sequences().height == 20

    assert any_store.write(view, keys, np.concatenate([vectors[:5], vectors[5:12] + 1, vectors[12:]])) == 7
    read = any_store.read(view, keys).values
    np.testing.assert_array_equal(read[5:12], vectors[5:12] + 1)
    np.testing.assert_array_equal(read[12:], vectors[12:])


def test_token_level_features_are_forgotten_whatever_their_length(
    any_store: FeatureStore, make_view, origin
) -> None:
    view = make_view(pooling="tokens")
    keys = any_store.add_sequences(["AAAA", "CC", "GGG", "TTTT"])
    any_store.declare(view, origin(3))
    values = np.arange(1, 49, dtype=np.float16).reshape(4, 4, 3)
    any_store.write(view, keys, values, np.array([4, 2, 3, 4]))
    any_store.forget(view, keys[:2])
    assert any_store.missing(view, keys) == keys[:2]
    np.testing.assert_array_equal(any_store.read(view, keys[3:]).values, values[3:])
    any_store.write(view, keys[:2], values[:2, :3], np.array([3, 3]))
    assert any_store.read(view, keys).lengths.tolist() == [3, 3, 3, 4]


def test_what_is_forgotten_stays_in_snapshots_through_optimize(disk_store: FeatureStore, fill) -> None:
    view, keys, vectors = fill(disk_store)
    then = disk_store.at(disk_store.snapshot("before"))
    disk_store.forget(view, keys[:10])
    disk_store.optimize(older_than=AT_ONCE)
    np.testing.assert_array_equal(then.read(view, keys).values, vectors)
    np.testing.assert_array_equal(disk_store.read(view, keys[10:]).values, vectors[10:])
    with pytest.raises(ReadOnlySnapshotError):
        then.forget(view, keys)


def test_bad_keys_and_unknown_views_take_nothing_out(any_store: FeatureStore, fill, make_view) -> None:
    view, keys, _ = fill(any_store)
    with pytest.raises(SequenceKeyError):
        any_store.forget(view, [keys[0], "x') OR ('' = '"])
    with pytest.raises(UnknownNameError):
        any_store.forget(make_view(layer=9), keys)
    assert any_store.missing(view, keys) == []


def test_forgetting_beside_writers_and_optimizers_loses_nothing_else(
    disk_store: FeatureStore, make_view, origin, random_sequences, random_vectors
) -> None:
    view, n = make_view(), 400
    keys, vectors = disk_store.add_sequences(random_sequences(n)), random_vectors(n)
    disk_store.declare(view, origin())
    for part in np.array_split(np.arange(n // 2), 10):
        disk_store.write(view, [keys[i] for i in part], vectors[part])
    failed: list[BaseException] = []

    def alone(job) -> None:
        try:
            job(FeatureStore.open(disk_store.uri))
        except BaseException as error:  # noqa: BLE001  (told below, by the test's own thread)
            failed.append(error)

    def forget(store: FeatureStore) -> None:
        for start in range(0, 100, 10):
            store.forget(view, keys[start : start + 10])

    def write(store: FeatureStore) -> None:
        for part in np.array_split(np.arange(n // 2, n), 10):
            store.write(view, [keys[i] for i in part], vectors[part])

    def merge(store: FeatureStore) -> None:
        for _ in range(5):
            store.optimize(view, older_than=AT_ONCE)

    threads = [threading.Thread(target=alone, args=(job,)) for job in (forget, forget, write, merge)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert disk_store.missing(view, keys) == keys[:100]
    np.testing.assert_array_equal(disk_store.read(view, keys[100:]).values, vectors[100:])
