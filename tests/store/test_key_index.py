from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmstore.errors import SequenceKeyError, StoreError
from glmstore.store import keys as key_module
from glmstore.store.keys import KeyIndex, column_words, key_words


def digest(i: int) -> str:
    return hashlib.blake2b(str(i).encode(), digest_size=16).hexdigest()


@settings(max_examples=40)
@given(stored=st.lists(st.integers(0, 60), max_size=50), asked=st.lists(st.integers(0, 80), max_size=50))
def test_locate_agrees_with_a_dictionary_of_first_positions(stored: list[int], asked: list[int]) -> None:
    names = [digest(i) for i in stored]
    index = KeyIndex(key_words(names))
    wanted = [digest(i) for i in asked]
    expected = [names.index(key) if key in names else -1 for key in wanted]
    assert index.locate(key_words(wanted)).tolist() == expected


def test_keys_whose_hash_prefixes_all_collide_are_still_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_module, "_hash", lambda words: np.zeros(len(words), np.uint64))
    names = [digest(i) for i in range(40)]
    index = KeyIndex(key_words(names))
    assert index.locate(key_words(names[::-1])).tolist() == list(range(40))[::-1]
    assert index.locate(key_words([digest(99)])).tolist() == [-1]


def test_a_sliced_and_chunked_column_gives_the_same_words_as_its_keys() -> None:
    names = [digest(i) for i in range(20)]
    whole = pa.array(["0" * 32, *names], pa.string())
    column = pa.chunked_array([whole.slice(1, 7), whole.slice(8, 0), whole.slice(8)])
    np.testing.assert_array_equal(column_words(column), key_words(names))
    assert KeyIndex.from_column(column).key(19) == names[19]


def test_a_column_that_holds_something_else_than_keys_is_refused() -> None:
    with pytest.raises(StoreError, match="no keys"):
        column_words(pa.chunked_array([pa.array(["abc", digest(1)])]))


@pytest.mark.parametrize(
    "wrong", ["", "abc", "A" * 32, "g" * 32, "é" * 32, "0" * 31 + " ", "0" * 33, "' OR 1=1 --" + "0" * 21]
)
def test_a_malformed_key_is_named_with_its_position(wrong: str) -> None:
    with pytest.raises(SequenceKeyError, match="32 lower-case hex") as caught:
        key_words([digest(0), wrong])
    assert caught.value.key == wrong
    assert "number 1" in str(caught.value)


def test_two_wrong_lengths_that_add_up_are_not_taken_for_two_keys() -> None:
    with pytest.raises(SequenceKeyError, match="number 0"):
        key_words(["0" * 31, "0" * 33])


def test_duplicates_and_absences_are_counted() -> None:
    index = KeyIndex(key_words([digest(i) for i in (1, 2, 1, 3, 1)]))
    assert index.n_duplicates() == 2
    assert index.absent_from(KeyIndex(key_words([digest(1), digest(2)]))) == 1


def test_a_small_first_question_and_the_next_ones_get_the_same_answer() -> None:
    names = [digest(i % 900) for i in range(1000)]
    asked = key_words([digest(i) for i in (3, 950, 899, 3, 0)])
    index = KeyIndex(key_words(names))
    first = index.locate(asked)
    assert first.tolist() == [3, -1, 899, 3, 0]
    assert index.locate(asked).tolist() == first.tolist()
