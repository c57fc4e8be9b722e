from __future__ import annotations

from pathlib import Path

import pytest

from glmstore.errors import (
    AlphabetError,
    EmptySequenceError,
    SequenceKeyError,
    StoreError,
    StoreNotFoundError,
)
from glmstore.sequences.normalise import seq_key
from glmstore.store import FeatureStore


def test_a_sequence_is_stored_once_whoever_brings_it(any_store: FeatureStore) -> None:
    first = any_store.add_sequences(["ACGT", "TTNN", "ACGT"])
    second = any_store.add_sequences(["GGG", "TTNN"])
    assert first == [seq_key("ACGT"), seq_key("TTNN"), seq_key("ACGT")]
    assert second == [seq_key("GGG"), seq_key("TTNN")]
    assert sorted(any_store.sequences()["sequence"]) == ["ACGT", "GGG", "TTNN"]


def test_sequences_come_back_in_the_order_asked_with_repeats(any_store: FeatureStore) -> None:
    keys = any_store.add_sequences(["ACGT", "TT", "GGG"])
    frame = any_store.sequences([keys[2], keys[0], keys[2]])
    assert frame["sequence"].to_list() == ["GGG", "ACGT", "GGG"]
    assert frame["length"].to_list() == [3, 4, 3]
    assert any_store.sequences([]).height == 0


def test_few_of_many_sequences_come_back_in_the_order_asked(
    disk_store: FeatureStore, random_sequences: object
) -> None:
    many = random_sequences(200)  # type: ignore[operator]
    keys = disk_store.add_sequences(many)
    assert disk_store.sequences([keys[150], keys[3], keys[150]])["sequence"].to_list() == [
        many[150],
        many[3],
        many[150],
    ]


def test_an_unknown_or_malformed_key_is_named(store: FeatureStore) -> None:
    with pytest.raises(SequenceKeyError, match=seq_key("AAA")):
        store.sequences([seq_key("AAA")])
    store.add_sequences(["ACGT"])
    with pytest.raises(SequenceKeyError, match=seq_key("AAA")):
        store.sequences([seq_key("ACGT"), seq_key("AAA")])
    with pytest.raises(SequenceKeyError, match="nonsense"):
        store.sequences(["nonsense"])


def test_a_sequence_that_is_not_normalised_is_refused_and_nothing_is_stored(store: FeatureStore) -> None:
    with pytest.raises(AlphabetError, match=r"sequence 1 .*'c' at position 1"):
        store.add_sequences(["ACGT", "Acgt"])
    with pytest.raises(EmptySequenceError, match="sequence 1"):
        store.add_sequences(["ACGT", ""])
    assert store.sequences().height == 0


def test_a_directory_store_is_the_same_store_under_each_of_its_names(tmp_path: Path) -> None:
    place = tmp_path / "a" / "store"
    made = FeatureStore.open(place)
    made.add_sequences(["ACGT"])
    again = FeatureStore.open(f"file://{place}", create=False)
    assert again.store_id == made.store_id
    assert again.uri == made.uri == str(place)
    assert again.sequences()["sequence"].to_list() == ["ACGT"]


def test_stores_in_memory_are_separate() -> None:
    one, other = FeatureStore.open("memory://"), FeatureStore.open("memory://")
    one.add_sequences(["ACGT"])
    assert other.sequences().height == 0
    assert one.store_id != other.store_id


def test_an_absent_store_is_not_made_unless_asked(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match="no store lies at"):
        FeatureStore.open(tmp_path / "nowhere", create=False)
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreNotFoundError):
        FeatureStore.open(tmp_path / "empty", create=False)


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    import lancedb

    lancedb.connect(tmp_path).create_table("theirs", [{"x": 1}])
    with pytest.raises(StoreError, match="no glmstore"):
        FeatureStore.open(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["theirs.lance"]
