"""The sequence controls: exact by hand."""

from itertools import product

import numpy as np
import pytest
import torch

from glmstore.extraction import embed
from glmstore.models import get_model


def pooled(name: str, sequence: str) -> np.ndarray:
    (chunk,) = embed(get_model(name).load("cpu"), [sequence], layer=0, pooling="mean", dtype="float32")
    return chunk.values[0]


def test_one_hot_is_acgt_in_order_and_n_is_zeros():
    (chunk,) = embed(get_model("onehot").load("cpu"), ["ACGTN"], layer=0, pooling="tokens", dtype="uint8")
    assert chunk.values.dtype == np.uint8
    assert chunk.values[0].tolist() == [*np.eye(4, dtype=int).tolist(), [0, 0, 0, 0]]
    assert chunk.lengths is not None
    assert chunk.lengths.tolist() == [5]


def test_mean_of_one_hot_is_composition():
    assert pooled("onehot", "AACG").tolist() == [0.5, 0.25, 0.25, 0]


def test_dinucleotides_are_counted_in_lexicographic_order():
    order = ["".join(p) for p in product("ACGT", repeat=2)]
    found = dict(zip(order, pooled("kmer2", "AACAAC"), strict=True))
    assert {k: v for k, v in found.items() if v} == pytest.approx({"AA": 0.4, "AC": 0.4, "CA": 0.2})


def test_windows_holding_n_count_for_nothing():
    assert pooled("kmer3", "ACGNACG").tolist() == pooled("kmer3", "ACG").tolist()


@pytest.mark.parametrize("sequence", ["AC", "ANNNC", "NNNNNNN"])
def test_a_sequence_without_a_whole_window_is_zeros(sequence: str):
    assert not pooled("kmer3", sequence).any()


@pytest.mark.parametrize("k", range(1, 7))
def test_frequencies_equal_counting_by_hand(k: int):
    rng = np.random.default_rng(k)
    sequence = "".join(rng.choice(list("ACGTN"), 200, p=[0.24, 0.24, 0.24, 0.24, 0.04]))
    counts = np.zeros(4**k)
    for start in range(len(sequence) - k + 1):
        word = sequence[start : start + k]
        if "N" not in word:
            counts[int("".join(str("ACGT".index(base)) for base in word), 4)] += 1
    np.testing.assert_allclose(pooled(f"kmer{k}", sequence), counts / counts.sum(), atol=1e-7)


def test_the_fast_path_equals_the_mean_over_whole_windows_of_the_hidden_states():
    model = get_model("kmer3").load("cpu")
    batch = model.encode(["ACGTTGNACGT", "ACG"])
    hidden = model.hidden_states(batch, 0)
    expected = hidden.sum(dim=1) / hidden.sum(dim=(1, 2)).unsqueeze(1)
    torch.testing.assert_close(model.pooled(batch, 0, "mean"), expected)
