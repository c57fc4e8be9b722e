"""Embedding: batches by length, strands, number types, and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from glmstore.errors import AlphabetError, NonFiniteFeatureError, PoolingError
from glmstore.extraction import (
    BatchBudget,
    Chunk,
    batching,
    embed,
    materialize,
    plan_batches,
    resolve_device,
    resolve_precision,
)
from glmstore.models import get_model
from glmstore.models.catalogue import FAMILIES
from glmstore.models.onehot import ONEHOT_SPEC, OneHot
from glmstore.sequences.onehot import reverse_complement
from glmstore.store import FeatureStore

SEQUENCES = ["ACGTTGCA", "GATTACAGATTACA", "TTT", "ACGNNACGT", "GATTACA"]


class Constant(OneHot):
    """One-hot whose hidden states hold one value in the longest sequence of a batch."""

    def __init__(self, value: float) -> None:
        super().__init__(ONEHOT_SPEC)
        self.value = value

    def layers(self, batch):
        (hidden,) = super().layers(batch)
        hidden[batch.lengths.argmax(), 0, 2] = self.value
        yield hidden


def gathered(chunks) -> dict[int, np.ndarray]:
    return {
        int(i): row if c.lengths is None else row[: c.lengths[j]]
        for c in chunks
        for j, (i, row) in enumerate(zip(c.indices, c.values, strict=True))
    }


def gpn(sequences: list[str], **options) -> dict[int, np.ndarray]:
    chosen = {"layer": 2, "pooling": "mean", "dtype": "float32", "precision": "float32"} | options
    return gathered(embed(get_model("gpn-mini").load("cpu"), sequences, **chosen))


def test_batches_hold_every_sequence_once_within_the_budget_shortest_first():
    lengths = np.random.default_rng(0).integers(1, 300, 1_000).tolist()
    batches = list(plan_batches(lengths, BatchBudget(1_000)))
    assert sorted(np.concatenate(batches).tolist()) == list(range(1_000))
    assert all(max(lengths[i] for i in b) * len(b) <= 1_000 for b in batches)
    assert [lengths[i] for b in batches for i in b] == sorted(lengths)
    assert sum(max(lengths[i] for i in b) * len(b) for b in batches) < 1.05 * sum(lengths)


def test_a_sequence_past_the_budget_is_a_batch_of_its_own():
    assert [b.tolist() for b in plan_batches([5, 50, 5], BatchBudget(10))] == [[0, 2], [1]]


def test_no_sequences_make_no_chunks():
    assert list(embed(get_model("kmer1").load("cpu"), [], layer=0, pooling="mean")) == []


def test_every_index_comes_once_and_progress_ends_at_all():
    told: list[tuple[int, int]] = []
    model = get_model("kmer2").load("cpu")
    sequences = ["ACGT" * (i % 60 + 1) for i in range(600)]
    chunks = list(embed(model, sequences, layer=0, pooling="mean", progress=lambda *at: told.append(at)))
    assert len(chunks) > 1
    assert sorted(np.concatenate([c.indices for c in chunks]).tolist()) == list(range(600))
    assert told[-1] == (600, 600)
    assert [done for done, _ in told] == np.cumsum([len(c.indices) for c in chunks]).tolist()


def test_batches_of_one_budget_or_another_give_the_same_embeddings(monkeypatch: pytest.MonkeyPatch):
    whole = gpn(SEQUENCES)
    monkeypatch.setattr(batching, "CPU_NT", 16)
    for i, vector in gpn(SEQUENCES).items():
        np.testing.assert_allclose(vector, whole[i], atol=1e-5)


def test_bf16_follows_float32_closely():
    exact, fast = gpn(SEQUENCES), gpn(SEQUENCES, precision="bfloat16")
    for i, vector in exact.items():
        np.testing.assert_allclose(fast[i], vector, atol=0.05)
        assert not np.array_equal(fast[i], vector)


def test_bf16_depends_on_the_batch_by_no_more_than_its_rounding():
    together = gpn(SEQUENCES, precision="bfloat16")
    for i, sequence in enumerate(SEQUENCES):
        np.testing.assert_allclose(gpn([sequence], precision="bfloat16")[0], together[i], atol=5e-3)


def test_reverse_strand_is_the_embedding_of_the_reverse_complement():
    turned = gpn([reverse_complement(s) for s in SEQUENCES])
    for i, vector in gpn(SEQUENCES, strand="reverse").items():
        np.testing.assert_array_equal(vector, turned[i])


def test_reverse_tokens_lie_in_the_order_of_the_forward_strand():
    tokens = gpn(SEQUENCES, pooling="tokens", strand="reverse", layer=0)
    turned = gpn([reverse_complement(s) for s in SEQUENCES], pooling="tokens", layer=0)
    for i, matrix in tokens.items():
        assert matrix.shape == (len(SEQUENCES[i]), 96)
        np.testing.assert_array_equal(matrix, turned[i][::-1])


@pytest.mark.parametrize("pooling", ["mean", "max", "mean+max", "windowed-mean", "tokens", "nucleotides"])
def test_mean_strand_averages_both_and_does_not_know_which_is_which(pooling: str):
    forward, reverse, mean = (
        gpn(SEQUENCES, pooling=pooling, strand=s) for s in ("forward", "reverse", "mean")
    )
    other = gpn([reverse_complement(s) for s in SEQUENCES], pooling=pooling, strand="mean")
    for i, value in mean.items():
        np.testing.assert_allclose(value, (forward[i] + reverse[i]) / 2, atol=1e-6)
        np.testing.assert_allclose(value, other[i][::-1] if value.ndim == 2 else other[i], atol=1e-6)


def test_strands_cut_into_different_tokens_are_not_averaged():
    class Ragged(OneHot):
        def encode(self, sequences):
            batch = super().encode(sequences)
            batch.special_mask[batch.ids[:, 0] == 0, 0] = True
            return batch

    with pytest.raises(PoolingError, match="tokens of different nucleotides"):
        list(embed(Ragged(ONEHOT_SPEC), ["ACG"], layer=0, pooling="tokens", strand="mean"))


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("nucleotide-transformer", "GATTACAGATTACACCGTTG"),
        ("generator", "GATTACAGATTACACCGTTG"),
        ("grover", "TGGATTACGGTCTGCGTT"),
    ],
)
def test_as_many_tokens_of_other_nucleotides_are_not_averaged_either(family: str, text: str):
    model = FAMILIES[family].tiny_model()
    counts = [(~model.encode([s]).special_mask).sum() for s in (text, reverse_complement(text))]
    assert counts[0] == counts[1]
    options = {"layer": 1, "strand": "mean", "precision": "float32"}
    with pytest.raises(PoolingError, match="tokens of different nucleotides"):
        list(embed(model, [text], pooling="tokens", **options))
    (each,) = embed(model, [text], pooling="nucleotides", **options)
    assert each.lengths.tolist() == [len(text)]


def test_6_mers_that_end_with_the_sequence_are_averaged():
    model = FAMILIES["nucleotide-transformer"].tiny_model()
    texts = ["GATTACAGATTACACCGT", "GATTAC"]
    exact = {"layer": 1, "pooling": "tokens", "dtype": "float32", "precision": "float32"}
    (both,), (one,), (other,) = (
        embed(model, texts, strand=strand, **exact) for strand in ("mean", "forward", "reverse")
    )
    np.testing.assert_allclose(both.values, (one.values + other.values) / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (float("nan"), "float16"),
        (float("inf"), "float32"),
        (float("-inf"), "float16"),
        (1e5, "float16"),
        (-1.0, "uint8"),
        (0.5, "uint8"),
        (256.0, "uint8"),
    ],
)
def test_values_the_type_cannot_hold_name_their_record(value: float, dtype: str):
    with pytest.raises(NonFiniteFeatureError, match=f"row 1: .* holds {value}.* {dtype} cannot hold"):
        list(
            embed(
                Constant(value),
                ["ACG", "ACGT", "AC"],
                layer=0,
                pooling="tokens",
                dtype=dtype,
                records=["row 0", "row 1", "row 2"],
            )
        )


def test_the_largest_float16_is_stored():
    (chunk,) = embed(Constant(65504.0), ["ACGT"], layer=0, pooling="tokens")
    assert isinstance(chunk, Chunk)
    assert chunk.values.dtype == np.float16
    assert chunk.values.max() == 65504


def test_fractions_are_not_rounded_into_bytes():
    with pytest.raises(NonFiniteFeatureError, match=r"holds 0\.5"):
        list(embed(get_model("onehot").load("cpu"), ["AC"], layer=0, pooling="mean", dtype="uint8"))


def test_auto_precision_is_bf16_only_where_the_processor_computes_in_it(monkeypatch: pytest.MonkeyPatch):
    spec = get_model("gpn-mini").spec
    for capabilities, expected in (({"avx512_bf16": True}, "bfloat16"), ({"avx2": True}, "float32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found)
        assert resolve_precision("auto", spec, "cpu") == expected
    assert resolve_precision("auto", ONEHOT_SPEC, "cpu") == "float32"
    assert resolve_precision("bfloat16", spec, "cpu") == "bfloat16"


def test_device_follows_the_settings_and_auto_finds_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GLMSTORE_DEVICE", "cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device() == "cuda:1"
    assert resolve_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends, "mps", SimpleNamespace(is_available=lambda: True))
    assert resolve_device("auto") == "mps"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("ACgT", "second: letter 'g' at position 2"),
        ("U", "letter 'U'"),
        ("AC GT", "letter ' '"),
        ("é", "'é'"),
    ],
)
def test_letters_that_a_tokenizer_would_take_for_others_are_refused_before_anything_is_computed(
    wrong: str, says: str
) -> None:
    for name in ("onehot", "gpn-mini"):
        model = get_model(name).load("cpu")
        with pytest.raises(AlphabetError, match=says):
            embed(model, ["ACGT", wrong], layer=0, pooling="mean", records=["first", "second"])
        store = FeatureStore.open("memory://")
        with pytest.raises(AlphabetError, match="sequence "):
            materialize(store, name, ["ACGT", wrong])
        assert store.views().height == 0
