"""What every model in the registry promises, whoever adds it."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glmstore.errors import EmptySequenceError, LayerError, PoolingError, SequenceTooLongError
from glmstore.extraction import embed
from glmstore.models import FAMILIES, MODELS, GenomicLM, get_model

ROUNDING = {"atol": 1e-4, "rtol": 1e-4}
"""Batches of other shapes add up in other orders, every processor in its own: with AVX2 that makes 9e-6.

A neighbour or padding that is seen moves the first digits.
"""
TINY = {f"tiny-{family.name}": family for family in FAMILIES}
CONTROLS = ("rand_init:gpn-mini:0", "shuf_weights:gpn-mini:0", "rand_vec:24:0", "rand_proj:24:0")
NAMES = [*(e.name for e in MODELS if e.spec.revision is not None), *CONTROLS, *TINY]
SEQUENCES = ["ACGTACGTTGCANNACGTA", "GATTACA", "ACGTNACGTTTGACCA" * 4, "TTTTTTTTTTTT"]
_LOADED: dict[str, GenomicLM] = {}


def loaded(name: str) -> GenomicLM:
    if name not in _LOADED:
        _LOADED[name] = TINY[name].tiny_model() if name in TINY else get_model(name).load("cpu")
    return _LOADED[name]


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest) -> GenomicLM:
    return loaded(request.param)


def test_listing_models_does_not_import_torch():
    code = "import sys; from glmstore.models import MODELS; MODELS.names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_it_holds_the_protocol_under_its_registry_name(model: GenomicLM):
    assert isinstance(model, GenomicLM)
    if model.spec.name not in TINY:
        assert model.spec == get_model(model.spec.name).spec


def test_its_description_is_filled(model: GenomicLM):
    spec = model.spec
    assert all([spec.revision, spec.summary, spec.family, spec.tokenization, spec.licence, spec.citation])
    assert spec.tokenizer_sha256 is not None
    assert spec.default_pooling in spec.poolings
    assert 0 <= spec.default_layer <= spec.n_layers
    assert (spec.objective == "none") == (spec.n_parameters == 0)
    assert spec.pretraining is not None or spec.objective == "none"
    assert ("cls" in spec.poolings) <= spec.has_cls


def test_its_provenance_says_what_it_is(model: GenomicLM):
    origin = model.provenance("float32")
    assert origin.dim == model.spec.dim
    assert origin.weights_sha256 == model.spec.weights_sha256
    assert origin.model_spec["name"] == model.spec.name
    assert origin.precision == "float32"


@pytest.mark.parametrize("layer", ["first", "mid", "last"])
def test_hidden_states_have_the_promised_shape(model: GenomicLM, layer: str):
    number = 0 if layer == "first" else model.spec.resolve_layer(layer)
    batch = model.encode(SEQUENCES)
    assert model.hidden_states(batch, number).shape == (*batch.special_mask.shape, model.spec.dim)


def test_layers_and_poolings_it_does_not_have_are_refused(model: GenomicLM):
    with pytest.raises(LayerError):
        model.hidden_states(model.encode(SEQUENCES), model.spec.n_layers + 1)
    if "cls" not in model.spec.poolings:
        with pytest.raises(PoolingError, match="cls"):
            embed(model, SEQUENCES, layer=0, pooling="cls")


def test_an_embedding_depends_neither_on_its_batch_nor_on_order(model: GenomicLM):
    for pooling in model.spec.poolings:
        together = _features(model, SEQUENCES, pooling)
        reverse = _features(model, SEQUENCES[::-1], pooling)[::-1]
        for sequence, a, b in zip(SEQUENCES, together, reverse, strict=True):
            (alone,) = _features(model, [sequence], pooling)
            torch.testing.assert_close(a, alone, **ROUNDING)
            torch.testing.assert_close(b, alone, **ROUNDING)


def test_empty_sequences_are_refused_by_name(model: GenomicLM):
    with pytest.raises(EmptySequenceError, match="sequence 1"):
        model.encode(["ACGT", ""])
    with pytest.raises(EmptySequenceError, match="row 1"):
        embed(model, ["ACGT", ""], layer=0, pooling=model.spec.default_pooling, records=["row 0", "row 1"])


def test_sequences_past_its_limit_are_refused_by_name(model: GenomicLM):
    if model.spec.max_nt is None:
        assert model.encode(["ACGT" * 50_000]).ids.shape[1] >= 1
        return
    with pytest.raises(SequenceTooLongError, match=r"sequence 0: .* takes"):
        model.encode(["A" * (model.spec.max_nt + 1)])


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20)
@given(sequences=st.lists(st.text("ACGTN", min_size=1, max_size=40), min_size=1, max_size=4))
def test_spans_tile_every_sequence(name: str, sequences: list[str]):
    batch = loaded(name).encode(sequences)
    assert batch.lengths.tolist() == [len(s) for s in sequences]
    for spans, special, sequence in zip(batch.spans, batch.special_mask, sequences, strict=True):
        real = spans[~special].tolist()
        assert [start for start, _ in real] == [0, *(end for _, end in real[:-1])]
        assert real[-1][1] == len(sequence)
        assert not spans[special].any()


def _features(model: GenomicLM, sequences: list[str], pooling: str) -> list[torch.Tensor]:
    found: dict[int, torch.Tensor] = {}
    layer = model.spec.default_layer
    for chunk in embed(model, sequences, layer=layer, pooling=pooling, dtype="float32", precision="float32"):
        for i, (index, values) in enumerate(zip(chunk.indices, chunk.values, strict=True)):
            real = values if chunk.lengths is None else values[: chunk.lengths[i]]
            found[int(index)] = torch.from_numpy(real)
    return [found[i] for i in range(len(sequences))]
