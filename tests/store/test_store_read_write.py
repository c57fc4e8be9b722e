from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from glmstore.errors import MissingFeaturesError, SequenceKeyError, UnknownNameError
from glmstore.sequences.normalise import seq_key
from glmstore.store import FeatureStore


def test_what_is_written_is_read_back_bit_for_bit_in_the_order_asked(any_store: FeatureStore, fill) -> None:
    view, keys, vectors = fill(any_store, n=50)
    asked = np.random.default_rng(1).integers(0, 50, 200)
    read = any_store.read(view, [keys[i] for i in asked])
    assert read.values.dtype == np.float16
    assert read.lengths is None
    assert read.values.tobytes() == vectors[asked].tobytes()


def test_a_small_read_of_a_large_view_takes_rows_and_still_keeps_order(
    disk_store: FeatureStore, fill
) -> None:
    view, keys, vectors = fill(disk_store, n=5000, dim=64)
    read = disk_store.read(view, [keys[4999], keys[0], keys[4999], keys[17]])
    np.testing.assert_array_equal(read.values, vectors[[4999, 0, 4999, 17]])


def test_missing_lists_each_absent_key_once_in_the_order_asked(any_store: FeatureStore, fill) -> None:
    view, keys, _ = fill(any_store)
    new = any_store.add_sequences(["AAAA", "CCCC"])
    assert any_store.missing(view, [new[1], keys[0], new[0], new[1], keys[3]]) == [new[1], new[0]]
    assert any_store.missing(view, keys) == []


def test_a_view_never_declared_misses_everything(store: FeatureStore, make_view) -> None:
    keys = store.add_sequences(["AAAA", "CCCC"])
    assert store.missing(make_view(), [keys[1], keys[0], keys[1]]) == [keys[1], keys[0]]
    with pytest.raises(MissingFeaturesError, match="lacks 2 of the 2"):
        store.read(make_view(), keys)


def test_reading_what_is_not_there_names_it(store: FeatureStore, fill) -> None:
    view, keys, _ = fill(store)
    absent = seq_key("GATTACA")
    with pytest.raises(MissingFeaturesError, match=absent) as caught:
        store.read(view, [keys[0], absent, absent])
    assert caught.value.missing == [absent]
    assert caught.value.view == view.name


def test_reading_nothing_gives_no_rows_of_the_right_width(
    any_store: FeatureStore, make_view, origin, fill
) -> None:
    empty = make_view(layer=9)
    any_store.declare(empty, origin(8))
    assert any_store.read(empty, []).values.shape == (0, 8)
    view, _, _ = fill(any_store)
    assert any_store.read(view, []).values.shape == (0, 8)
    assert any_store.write(view, [], np.empty((0, 8))) == 0


def test_writing_again_stores_nothing_new_and_changes_nothing(any_store: FeatureStore, fill) -> None:
    view, keys, vectors = fill(any_store)
    assert any_store.write(view, keys, vectors + 1) == 0
    np.testing.assert_array_equal(any_store.read(view, keys).values, vectors)


def test_only_the_new_rows_of_a_write_are_counted(any_store: FeatureStore, fill, random_vectors) -> None:
    view, keys, vectors = fill(any_store)
    new = any_store.add_sequences(["AAAA", "CCCC"])
    more = random_vectors(4, seed=5)
    assert any_store.write(view, [new[0], keys[0], new[1], keys[1]], more) == 2
    read = any_store.read(view, [new[1], keys[0], new[0]]).values
    np.testing.assert_array_equal(read, [more[2], vectors[0], more[0]])


def test_writes_to_an_undeclared_view_or_of_unknown_sequences_are_refused(
    store: FeatureStore, make_view, fill
) -> None:
    view, keys, vectors = fill(store)
    with pytest.raises(UnknownNameError, match="Declare a view"):
        store.write(make_view(layer=2), keys, vectors)
    stranger = seq_key("GATTACA")
    with pytest.raises(SequenceKeyError, match=f"{stranger} names no sequence"):
        store.write(view, [*keys, stranger], np.zeros((21, 8)))
    with pytest.raises(SequenceKeyError, match="32 lower-case hex"):
        store.write(view, ["x"], np.zeros((1, 8)))
    assert store.missing(view, [stranger]) == [stranger]


def test_another_open_store_sees_each_commit_at_once(tmp_path, fill) -> None:
    writer, reader = FeatureStore.open(tmp_path), FeatureStore.open(tmp_path)
    view, keys, vectors = fill(writer)
    assert reader.missing(view, keys) == []
    new = writer.add_sequences(["AAAA"])
    assert reader.missing(view, new) == new
    writer.write(view, new, vectors[:1])
    assert reader.missing(view, new) == []
    np.testing.assert_array_equal(reader.read(view, new).values, vectors[:1])


def test_float32_and_uint8_views_keep_their_type(any_store: FeatureStore, make_view, origin) -> None:
    keys = any_store.add_sequences(["AAAA", "CCCC"])
    exact, counts = make_view(dtype="float32"), make_view(dtype="uint8")
    any_store.declare(exact, origin(3))
    any_store.declare(counts, origin(3))
    numbers = np.array([[0.1, -2.5, 1e30], [3.0, 0.0, -0.0]], np.float32)
    any_store.write(exact, keys, numbers)
    any_store.write(counts, keys, np.array([[0, 1, 255], [4, 5, 6]]))
    assert any_store.read(exact, keys).values.tobytes() == numbers.tobytes()
    read = any_store.read(counts, keys[::-1]).values
    assert read.dtype == np.uint8
    assert read.tolist() == [[4, 5, 6], [0, 1, 255]]


def test_scan_yields_every_row_once_over_lance_memory(any_store: FeatureStore, fill) -> None:
    view, keys, vectors = fill(any_store, n=100)
    batches = list(any_store.scan(view, batch_size=32))
    assert max(batch.num_rows for batch in batches) <= 32
    found = [key for batch in batches for key in batch.column("seq_key").to_pylist()]
    assert sorted(found) == sorted(keys)
    flat = batches[0].column("vector").flatten()
    assert flat.to_numpy(zero_copy_only=True).base is not None
    stored = {
        key: row
        for batch in batches
        for key, row in zip(batch["seq_key"].to_pylist(), batch["vector"], strict=True)
    }
    assert [stored[key].as_py() for key in keys] == vectors.astype(float).tolist()


def test_threads_share_one_open_store(disk_store: FeatureStore, fill, random_vectors) -> None:
    filled = [fill(disk_store, n=30, layer=layer) for layer in range(6)]
    new = disk_store.add_sequences(["A" * n for n in range(1, 25)])
    more = random_vectors(24, seed=3)

    def work(number: int) -> bool:
        view, keys, vectors = filled[number % 6]
        disk_store.write(view, [new[number]], more[[number]])
        read = disk_store.read(view, [new[number], *keys]).values
        return bool((read == np.concatenate([more[[number]], vectors])).all())

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(24))) == [True] * 24
    assert disk_store.views()["rows"].to_list() == [34] * 6


def test_a_torch_dataset_holds_rows_and_labels_in_the_order_asked(store: FeatureStore, fill) -> None:
    import torch
    from torch.utils.data import DataLoader

    view, keys, vectors = fill(store)
    data = store.torch_dataset(view, keys[::-1], np.arange(20.0))
    assert len(data) == 20
    x, y = next(iter(DataLoader(data, batch_size=4)))
    torch.testing.assert_close(x, torch.from_numpy(vectors[::-1][:4].copy()))
    assert y.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert data.values.shape == (20, 8)
