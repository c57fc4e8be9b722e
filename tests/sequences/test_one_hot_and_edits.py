from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmstore.errors import AlphabetError, ShapeError, VariantError
from glmstore.sequences.edit import insert_at, substitute
from glmstore.sequences.onehot import one_hot, reverse_complement

DNA = st.text(alphabet="ACGTN", min_size=1, max_size=60)


def test_one_hot_writes_each_letter_in_acgt_order_and_n_as_zeros() -> None:
    assert one_hot(["ACGTN", "TTTTA"]).tolist() == [
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]],
        [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [1, 0, 0, 0]],
    ]


def test_one_hot_is_uint8_and_of_shape_n_l_4_even_without_sequences() -> None:
    assert one_hot(["ACG"] * 2).dtype == np.uint8
    assert one_hot(["ACG"] * 2).shape == (2, 3, 4)
    assert one_hot([]).shape == (0, 0, 4)


@given(DNA)
def test_one_hot_can_be_read_back(sequence: str) -> None:
    (encoded,) = one_hot([sequence])
    letters = np.where(encoded.any(-1), np.array(list("ACGT"))[encoded.argmax(-1)], "N")
    assert "".join(letters) == sequence


def test_one_hot_refuses_unequal_lengths_and_names_the_first() -> None:
    with pytest.raises(ShapeError, match="sequence 2 has 3 nt and sequence 0 has 4"):
        one_hot(["ACGT", "ACGT", "ACG", "A"])


@pytest.mark.parametrize(("sequence", "position"), [("ACgT", 2), ("UACG", 0), ("ACGé", 3), ("AC T", 2)])
def test_one_hot_refuses_what_is_not_normalised_and_names_the_position(sequence: str, position: int) -> None:
    with pytest.raises(AlphabetError, match=f"at position {position} "):
        one_hot([sequence])


def test_reverse_complement_of_a_known_sequence() -> None:
    assert reverse_complement("AACGTNG") == "CNACGTT"


@given(DNA)
def test_reverse_complement_undoes_itself_and_flips_both_axes_of_one_hot(sequence: str) -> None:
    assert reverse_complement(reverse_complement(sequence)) == sequence
    assert np.array_equal(one_hot([reverse_complement(sequence)])[0], one_hot([sequence])[0, ::-1, ::-1])


def test_substitute_overwrites_in_place() -> None:
    assert substitute("AACCGGTT", 2, "TAT") == "AATATGTT"
    assert substitute("AACCGGTT", 7, "A", ref="T") == "AACCGGTA"


@given(DNA, st.data())
def test_substitute_changes_the_patch_and_nothing_else(sequence: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(sequence)))
    patch = data.draw(st.text(alphabet="ACGT", max_size=len(sequence) - start))
    edited = substitute(sequence, start, patch, ref=sequence[start : start + len(patch)])
    assert edited[start : start + len(patch)] == patch
    assert edited[:start] + edited[start + len(patch) :] == sequence[:start] + sequence[start + len(patch) :]


@pytest.mark.parametrize(("start", "patch"), [(-1, "A"), (4, "A"), (2, "AAA")])
def test_substitute_refuses_a_patch_that_does_not_lie_inside(start: int, patch: str) -> None:
    with pytest.raises(VariantError, match="does not lie inside a sequence of 4 nt"):
        substitute("ACGT", start, patch)


def test_substitute_refuses_a_reference_that_is_not_there() -> None:
    with pytest.raises(VariantError, match=r"reads 'G' at 2 \(0-based\), not the reference 'T'"):
        substitute("ACGT", 2, "A", ref="T")


def test_insert_at_makes_room_at_both_ends_and_in_between() -> None:
    assert [insert_at("ACGT", at, "nn") for at in (0, 2, 4)] == ["nnACGT", "ACnnGT", "ACGTnn"]
    with pytest.raises(VariantError, match="cannot insert at 5"):
        insert_at("ACGT", 5, "A")
