"""Several views from one pass: each as if asked for alone, layers streamed, windows put together."""

import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glmstore.errors import LayerError, PoolingError, SequenceTooLongError
from glmstore.extraction import Take, embed, embed_views, running, windows
from glmstore.models import get_model
from glmstore.models.kmer import Kmer
from glmstore.models.onehot import ONEHOT_SPEC, OneHot
from glmstore.models.spec import ModelSpec
from glmstore.sequences.onehot import reverse_complement

SEQUENCES = ["ACGTTGCA", "GATTACAGATTACA", "TTT", "ACGNNACGT", "GATTACA"]
EXACT = {"dtype": "float32"}


class Counting(OneHot):
    """Four layers of one-hot times the layer's number; knows what was computed and what is still alive."""

    def __init__(self, n_layers: int = 4, **changes) -> None:
        spec = {"n_layers": n_layers, "poolings": ("mean", "max", "tokens"), **changes}
        super().__init__(ModelSpec(**{**ONEHOT_SPEC.model_dump(), **spec}))
        self.computed: list[int] = []
        self.most_alive = 0
        self._alive: list[weakref.ref] = []

    def layers(self, batch):
        (first,) = super().layers(batch)
        for layer in range(self.spec.n_layers + 1):
            self.most_alive = max(self.most_alive, sum(r() is not None for r in self._alive))
            self.computed.append(layer)
            hidden = first * (layer + 1)
            self._alive.append(weakref.ref(hidden))
            yield hidden
            del hidden


def by_view(chunks) -> dict[int, dict[int, np.ndarray]]:
    found: dict[int, dict[int, np.ndarray]] = {}
    for number, chunk in chunks:
        for row, index in enumerate(chunk.indices):
            value = chunk.values[row] if chunk.lengths is None else chunk.values[row, : chunk.lengths[row]]
            assert int(index) not in found.setdefault(number, {})
            found[number][int(index)] = value
    return found


def alone(model, sequences: list[str], take: Take, **options) -> dict[int, np.ndarray]:
    return by_view(embed_views(model, sequences, [take], **options))[0]


def test_views_of_one_pass_are_those_of_a_pass_each():
    model = get_model("gpn-mini").load("cpu")
    takes = [
        Take(layer, pooling, strand, "float32")
        for layer in (0, 3, 8)
        for pooling in ("mean", "max", "mean+max", "tokens", "nucleotides")
        for strand in ("forward", "reverse", "mean")
    ]
    together = by_view(embed_views(model, SEQUENCES, takes, precision="float32"))
    for number, take in enumerate(takes):
        for i, value in alone(model, SEQUENCES, take, precision="float32").items():
            np.testing.assert_allclose(together[number][i], value, atol=1e-6)


@pytest.mark.parametrize("take", [Take(2, "tokens", "mean", "float32"), Take(1, "windowed-mean")])
def test_working_ahead_as_on_a_gpu_changes_nothing_but_when(take: Take, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("glmstore.extraction.batching.CPU_NT", 24)
    model = Counting(max_nt=20)
    sequences = [s[:20] for s in SEQUENCES * 5] + ["ACGTT" * 13] * (take.pooling == "windowed-mean")
    takes, told = [Take(0, take.pooling), take], list[tuple[int, int]]()
    alone = by_view(embed_views(model, sequences, takes))
    monkeypatch.setattr(running, "lookahead", lambda _: 1)
    ahead = by_view(embed_views(model, sequences, takes, progress=lambda *at: told.append(at)))
    assert [sorted(rows) for rows in ahead.values()] == [list(range(len(sequences)))] * 2
    for number, rows in alone.items():
        for i, value in rows.items():
            np.testing.assert_array_equal(ahead[number][i], value)
    assert told[-1] == (len(sequences), len(sequences))
    assert sorted(told) == told


def test_a_batch_is_launched_before_the_one_before_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("glmstore.extraction.batching.CPU_NT", 8)
    monkeypatch.setattr(running, "lookahead", lambda _: 1)
    model = Counting()
    chunks = embed_views(model, ["ACGTACGT"] * 4, [Take(0, "mean")])
    next(chunks)
    assert model.computed == [0, 0]
    assert len(list(chunks)) == 3


def test_layers_stop_after_the_last_one_asked_for_and_each_is_computed_once():
    model = Counting()
    by_view(embed_views(model, SEQUENCES, [Take(2, "max"), Take(0, "mean"), Take(2, "tokens")]))
    assert model.computed == [0, 1, 2]


def test_at_most_one_layer_is_alive_while_the_next_is_computed():
    model = Counting(n_layers=12)
    takes = [Take(layer, "mean", dtype="float32") for layer in range(13)]
    assert len(by_view(embed_views(model, SEQUENCES, takes))) == 13
    # The model itself may look back at the layer that it just gave; nobody else holds any.
    assert model.most_alive <= 1


def test_a_layer_is_given_out_before_the_next_is_computed():
    model = Counting()
    chunks = embed_views(model, SEQUENCES, [Take(0, "mean"), Take(1, "mean")])
    assert next(chunks)[0] == 0
    assert model.computed == [0]


def test_the_callers_code_runs_with_gradients_between_chunks():
    for _ in embed_views(Counting(), SEQUENCES, [Take(0, "mean"), Take(1, "tokens")]):
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_autocast_enabled("cpu")


def test_number_types_and_strands_may_differ_between_views():
    takes = [Take(0, "tokens", "reverse", "uint8"), Take(0, "mean", "forward", "float32")]
    found = by_view(embed_views(get_model("onehot").load("cpu"), ["AACG"], takes))
    assert found[0][0].dtype == np.uint8
    assert found[0][0].tolist() == [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 0]]
    assert found[1][0].tolist() == [0.5, 0.25, 0.25, 0]


def test_nucleotides_and_tokens_agree_where_a_token_is_a_letter():
    model = get_model("gpn-mini").load("cpu")
    takes = [Take(4, "tokens", dtype="float32"), Take(4, "nucleotides", dtype="float32")]
    found = by_view(embed_views(model, SEQUENCES, takes, precision="float32"))
    for i, sequence in enumerate(SEQUENCES):
        assert found[1][i].shape == (len(sequence), 96)
        np.testing.assert_array_equal(found[0][i], found[1][i])


def test_what_a_model_offers_follows_from_what_it_has():
    mini = get_model("gpn-mini").spec
    assert mini.poolings == ("mean", "max", "tokens", "mean+max", "windowed-mean", "nucleotides")
    assert get_model("kmer3").spec.poolings == ("mean",)
    assert ModelSpec(**mini.model_dump()).poolings == mini.poolings
    assert (mini.width("mean+max"), mini.width("nucleotides")) == (192, 96)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("all", tuple(range(9))), ("8,0,mid,4", (0, 4, 8)), (None, (4,)), (3, (3,)), (" 1 , last", (1, 8))],
)
def test_layers_are_asked_for_by_number_by_name_or_all(asked, expected: tuple[int, ...]):
    assert get_model("gpn-mini").spec.resolve_layers(asked) == expected


@pytest.mark.parametrize("asked", ["0,9", "1,,2", "every"])
def test_layers_that_are_not_there_are_refused(asked: str):
    with pytest.raises(LayerError):
        get_model("gpn-mini").spec.resolve_layers(asked)


@given(length=st.integers(1, 400), size=st.integers(1, 60))
@settings(max_examples=300)
def test_windows_are_full_and_every_nucleotide_belongs_to_one(length: int, size: int):
    pieces = windows.windows(0, length, size)
    assert all(p.end - p.start == min(size, length) for p in pieces)
    assert all(p.start <= p.own_start < p.own_end <= p.end for p in pieces)
    assert [n for p in pieces for n in range(p.own_start, p.own_end)] == list(range(length))
    assert len(pieces) == -(-length // size)


LONG = "".join(np.random.default_rng(0).choice(list("ACGTN"), 95))


def test_a_long_sequence_is_refused_and_told_of_windows():
    with pytest.raises(SequenceTooLongError, match="windowed-mean"):
        embed(Counting(max_nt=10), ["ACGT", LONG], layer=0, pooling="mean")
    with pytest.raises(SequenceTooLongError, match="sequence 1: 95 nt"):
        embed_views(Counting(max_nt=10), ["ACGT", LONG], [Take(0, "windowed-mean"), Take(0, "mean")])


def test_a_model_without_a_limit_needs_no_windows():
    with pytest.raises(PoolingError, match="windowed-mean"):
        embed(Counting(), ["ACGT"], layer=0, pooling="windowed-mean")


@pytest.mark.parametrize("strand", ["forward", "reverse", "mean"])
@pytest.mark.parametrize("budget", [10, 40, 10_000])
def test_windows_of_a_model_without_context_give_the_plain_mean(
    strand: str, budget: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("glmstore.extraction.batching.CPU_NT", budget)
    sequences = [LONG, "ACGT", LONG[:10], LONG[3:27]]
    takes = [Take(layer, "windowed-mean", strand, "float32") for layer in (0, 2)]
    found = by_view(embed_views(Counting(max_nt=10), sequences, takes))
    whole = by_view(embed_views(Counting(), sequences, [t._replace(pooling="mean") for t in takes]))
    for number, rows in whole.items():
        assert sorted(found[number]) == [0, 1, 2, 3]
        for i, value in rows.items():
            np.testing.assert_allclose(found[number][i], value, rtol=1e-6, atol=1e-7)


def test_windows_of_a_network_are_weighted_by_the_nucleotides_they_answer_for():
    model = get_model("gpn-mini").load("cpu")
    model.spec = model.spec.model_copy(update={"max_nt": 40})
    done: list[tuple[int, int]] = []
    (chunk,) = embed(
        model,
        [LONG],
        layer=5,
        pooling="windowed-mean",
        strand="reverse",
        precision="float32",
        progress=lambda *at: done.append(at),
        **EXACT,
    )
    text = reverse_complement(LONG)
    parts = []
    for start, stop, own in ((0, 40, (0, 40)), (40, 80, (40, 67)), (55, 95, (67, 95))):
        (tokens,) = embed(model, [text[start:stop]], layer=5, pooling="tokens", precision="float32", **EXACT)
        parts.append(tokens.values[0, own[0] - start : own[1] - start])
    np.testing.assert_allclose(chunk.values[0], np.concatenate(parts).mean(axis=0), atol=2e-5)
    assert done[-1] == (1, 1)


def test_models_that_pool_directly_are_asked_for_both_strands(monkeypatch: pytest.MonkeyPatch):
    model = get_model("kmer2").load("cpu")
    monkeypatch.setattr(Kmer, "layers", lambda *_: pytest.fail("hidden states were made"))
    takes = [Take(0, "mean", strand, "float32") for strand in ("forward", "reverse", "mean")]
    found = by_view(embed_views(model, SEQUENCES, takes))
    turned = alone(model, [reverse_complement(s) for s in SEQUENCES], takes[0])
    for i in range(len(SEQUENCES)):
        np.testing.assert_array_equal(found[1][i], turned[i])
        np.testing.assert_allclose(found[2][i], (found[0][i] + turned[i]) / 2, atol=1e-7)
