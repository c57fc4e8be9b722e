from __future__ import annotations

import numpy as np
import pytest

from glmstore.errors import NonFiniteFeatureError, PoolingError, ShapeError, UnknownNameError
from glmstore.store import FeatureStore


def cosine_distances(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    x, q = vectors.astype(np.float64), query.astype(np.float64)
    return 1 - x @ q / (np.linalg.norm(x, axis=1) * np.linalg.norm(q))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_neighbours_are_those_of_a_brute_force_cosine(any_store: FeatureStore, fill, dtype: str) -> None:
    view, keys, vectors = fill(any_store, n=200, dim=16, dtype=dtype)
    query = np.random.default_rng(3).normal(size=16)
    found = any_store.similar(view, query, k=12)
    distance = cosine_distances(vectors, query)
    nearest = np.argsort(distance)[:12]
    assert found["seq_key"].to_list() == [keys[i] for i in nearest]
    np.testing.assert_allclose(found["distance"], distance[nearest], atol=2e-3)
    assert found.columns == ["seq_key", "sequence", "distance"]
    assert (
        found["sequence"].to_list() == any_store.sequences(found["seq_key"].to_list())["sequence"].to_list()
    )


def test_a_large_view_is_indexed_by_optimize_and_still_finds_the_nearest(
    disk_store: FeatureStore, fill
) -> None:
    view, keys, vectors = fill(disk_store, n=2000, dim=16)
    disk_store.optimize(view, index_rows=1000)
    handle = disk_store._connection.handle(disk_store._catalogue.require(view).table_stem)
    assert [index.index_type for index in handle.list_indices()] == ["IvfFlat"]
    hits = [
        disk_store.similar(view, vectors[i].astype(float), k=1)["seq_key"].item() for i in range(0, 2000, 50)
    ]
    assert hits == [keys[i] for i in range(0, 2000, 50)]
    new = disk_store.add_sequences(["GATTACA"])
    disk_store.write(view, new, np.full((1, 16), 7.0))
    assert disk_store.similar(view, np.ones(16), k=1)["seq_key"].to_list() == new
    disk_store.optimize(view)
    assert handle.index_stats("vector_idx").num_unindexed_rows == 0
    assert disk_store.similar(view, np.ones(16), k=1)["seq_key"].to_list() == new
    np.testing.assert_array_equal(disk_store.read(view, keys).values, vectors)


def test_a_declared_view_without_rows_has_no_neighbours(store: FeatureStore, make_view, origin) -> None:
    store.declare(make_view(), origin(4))
    assert store.similar(make_view(), np.ones(4)).rows() == []


def test_queries_that_have_no_neighbours_are_refused(store: FeatureStore, fill, make_view, origin) -> None:
    view, _, _ = fill(store)
    for wrong in (np.ones(7), np.ones((1, 8)), np.array(["a"] * 8)):
        with pytest.raises(ShapeError, match=r"one vector \[8\]"):
            store.similar(view, wrong)
    for wrong in (np.zeros(8), np.full(8, np.nan), np.full(8, np.inf)):
        with pytest.raises(NonFiniteFeatureError):
            store.similar(view, wrong)
    with pytest.raises(ShapeError, match="at least 1"):
        store.similar(view, np.ones(8), k=0)
    for other in (make_view(pooling="tokens"), make_view(dtype="uint8")):
        store.declare(other, origin(8))
        with pytest.raises(PoolingError, match="cannot be searched"):
            store.similar(other, np.ones(8))
    with pytest.raises(UnknownNameError):
        store.similar(make_view(layer=5), np.ones(8))
