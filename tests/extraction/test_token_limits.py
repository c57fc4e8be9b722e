"""Contexts counted in tokens: refused by name before any work, or cut into windows that fit."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glmstore.errors import SequenceTooLongError
from glmstore.extraction import Take, embed, embed_views, materialize, materialize_many
from glmstore.extraction.windows import cut, fitting, too_many_tokens
from glmstore.models import get_model
from glmstore.models.base import ModelEntry
from glmstore.models.catalogue import FAMILIES, MODELS
from glmstore.sequences.onehot import reverse_complement
from glmstore.store import FeatureStore

NT = FAMILIES["nucleotide-transformer"].tiny_model()
BPE = FAMILIES["grover"].tiny_model()
BPE.tokenizer.max_tokens = 40
PLAIN = ["ACGTTG" * 10, "GATTACA" * 5, "ACGT"]


def too_many(model) -> str:
    """Return a sequence within the model's nucleotides and past its tokens."""
    text = ("ACGTN" * 400)[: min(model.spec.max_nt, 2 * model.max_tokens)]
    assert model.count_tokens([text])[0] > model.max_tokens
    return text


def only(chunks) -> np.ndarray:
    (chunk,) = chunks
    return chunk.values[0]


@pytest.mark.parametrize("model", [NT, BPE], ids=["6-mers", "byte pairs"])
@pytest.mark.parametrize("pooling", ["mean", "tokens"])
def test_too_many_tokens_are_refused_at_once_and_by_name(model, pooling: str):
    sequences = [*PLAIN, too_many(model), *PLAIN]
    records = [f"row {i}" for i in range(len(sequences))]
    with pytest.raises(SequenceTooLongError, match=r"row 3: \d+ tokens, and tiny-.* windowed-mean"):
        embed(model, sequences, layer=1, pooling=pooling, records=records)


def test_both_strands_count_where_they_are_cut_differently():
    draw = np.random.default_rng(1)
    texts = ["".join(draw.choice(list("ACGT"), 80)) for _ in range(400)]
    forward = BPE.count_tokens(texts)
    reverse = BPE.count_tokens([reverse_complement(t) for t in texts])
    at = int(np.argmax(reverse - forward))
    assert reverse[at] > forward[at]
    model = FAMILIES["grover"].tiny_model()
    model.tokenizer.max_tokens = int(forward[at])
    assert len(list(embed(model, [texts[at]], layer=1, pooling="mean"))) == 1
    with pytest.raises(SequenceTooLongError, match=f"sequence 0: {reverse[at]} tokens"):
        embed(model, [texts[at]], layer=1, pooling="mean", strand="mean")


@pytest.mark.parametrize("strand", ["forward", "reverse", "mean"])
@pytest.mark.parametrize("model", [NT, BPE], ids=["6-mers", "byte pairs"])
def test_windows_with_too_many_tokens_are_halved_and_weighted_by_nucleotides(model, strand: str):
    text = too_many(model)[:-3] + "ACG"
    options = {"layer": 1, "pooling": "windowed-mean", "dtype": "float32", "precision": "float32"}
    strands = ["forward", "reverse"] if strand == "mean" else [strand]
    pieces = fitting(model, cut([len(text)], None), [text])
    assert len(pieces) > 1
    parts = [
        (p.end - p.start, only(embed(model, [p.text(text, s)], **options))) for s in strands for p in pieces
    ]
    expected = sum(n * mean for n, mean in parts) / (len(text) * len(strands))
    found: dict[int, np.ndarray] = {}
    for chunk in embed(model, [PLAIN[0], text, PLAIN[2]], strand=strand, **options):
        found |= dict(zip(chunk.indices.tolist(), chunk.values, strict=True))
    assert sorted(found) == [0, 1, 2]
    np.testing.assert_allclose(found[1], expected, atol=2e-5)
    alone = only(embed(model, [PLAIN[0]], strand=strand, **options))
    np.testing.assert_allclose(found[0], alone, atol=2e-5)


def test_the_windows_of_a_view_do_not_depend_on_the_strands_of_other_views():
    draw = np.random.default_rng(2)
    texts = ["".join(draw.choice(list("ACGT"), 90)) for _ in range(400)]
    forward = BPE.count_tokens(texts)
    reverse = BPE.count_tokens([reverse_complement(t) for t in texts])
    at = int(np.argmax(reverse - forward))
    model = FAMILIES["grover"].tiny_model()
    model.tokenizer.max_tokens = int(forward[at])
    take = Take(1, "windowed-mean", "forward", "float32")
    exact = {"precision": "float32", "device": "cpu"}
    ((_, alone),) = embed_views(model, [texts[at]], [take], **exact)
    ((_, beside), _) = embed_views(model, [texts[at]], [take, take._replace(strand="mean")], **exact)
    np.testing.assert_allclose(beside.values, alone.values, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    runs=st.lists(
        st.tuples(st.sampled_from(["N", "ACGTTG", "GAT"]), st.integers(1, 60)), min_size=1, max_size=8
    )
)
def test_windows_that_fit_answer_for_every_nucleotide_once(runs: list[tuple[str, int]]):
    text = "".join(letters * n for letters, n in runs)
    whole = cut([len(text)], NT.spec.max_nt)
    pieces = fitting(NT, whole, [text])
    assert not too_many_tokens(NT, pieces, [text], ["forward", "reverse"])
    assert [n for p in pieces for n in range(p.own_start, p.own_end)] == list(range(len(text)))
    assert all(p.start <= p.own_start < p.own_end <= p.end for p in pieces)
    if "N" not in text:
        assert pieces == whole


def test_nothing_is_counted_for_models_of_one_token_a_letter(monkeypatch: pytest.MonkeyPatch):
    model = get_model("gpn-mini").load("cpu")
    monkeypatch.setattr(type(model), "count_tokens", lambda *_: pytest.fail("tokens were counted"))
    assert model.max_tokens is None
    assert len(list(embed_views(model, ["N" * 3_000, "ACGT"], [Take(1, "windowed-mean")]))) == 2


def test_short_sequences_are_not_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(NT), "count_tokens", lambda *_: pytest.fail("tokens were counted"))
    embed(NT, ["N" * (NT.max_tokens - 2)], layer=1, pooling="mean")


def test_a_pass_with_too_many_tokens_keeps_all_passes_from_writing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(MODELS._entries, NT.spec.name, ModelEntry(NT.spec, lambda _device: NT))
    store, views = FeatureStore.open("memory://"), [NT.spec.view(layer=layer) for layer in (0, 1)]
    bad = too_many(NT)
    materialize(store, NT.spec.name, PLAIN[:1], view=views[0])
    with pytest.raises(SequenceTooLongError, match=f"sequence [0-9a-f]{{32}} \\({bad[:20]}…\\): "):
        materialize_many(store, NT.spec.name, [PLAIN[0], PLAIN[1], bad], views)
    assert store.sequences()["sequence"].to_list() == [PLAIN[0]]
    assert store.views().height == 1


def test_the_record_is_named_and_nothing_written_when_several_devices_share_the_work(tmp_path: Path):
    store = FeatureStore.open(tmp_path / "store")
    with pytest.raises(SequenceTooLongError, match=r"sequence [0-9a-f]{32} \(N{20}…\): 3001 tokens"):
        materialize(store, "rand_init:nt-v2-50m:0", [*PLAIN, "N" * 3_000], layer=0, devices=["cpu", "cpu"])
    assert store.sequences().is_empty()
    assert store.views().is_empty()
