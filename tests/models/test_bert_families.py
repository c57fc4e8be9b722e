"""DNABERT, GROVER, GENA-LM and DNABERT-2 compute what their sources say, and load what these publish."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import gelu
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertForMaskedLM

from glmstore.errors import SequenceTooLongError, WeightsError
from glmstore.models import FAMILIES, MODELS, get_model
from glmstore.models.architectures.alibi_bert import AlibiBert, alibi_slopes
from glmstore.models.architectures.bert import Bert
from glmstore.models.architectures.pre_ln_bert import PreLNBert
from glmstore.models.checkpoints.loading import build_unfilled, load_strict
from glmstore.models.family import Architecture

SHAPE = {
    "vocab_size": 40,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "intermediate_size": 40,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 32,
    "type_vocab_size": 2,
    "initializer_range": 0.3,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 3,
}
GENA = {**SHAPE, "pre_layer_norm": True, "last_layer_norm": True}
IDS = torch.randint(4, 40, (2, 11), generator=torch.Generator().manual_seed(1))
MASK = torch.arange(11) < torch.tensor([[11], [6]])
IDS[~MASK] = 3
NAMES = ("dnabert", "dnabert2", "gena_lm", "grover")
CHECKPOINTS = [
    e.name for e in MODELS if isinstance(e.untrained, Architecture) and e.untrained.family.name in NAMES
]


def shaken(network: torch.nn.Module) -> torch.nn.Module:
    """Move every weight, so that no norm is an identity and no bias zero."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return network.eval()


def norm(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + SHAPE["layer_norm_eps"]).sqrt()
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    y = x @ state[f"{name}.weight"].T
    return y + state[f"{name}.bias"] if f"{name}.bias" in state else y


def attention(q: Tensor, k: Tensor, v: Tensor, keep: Tensor, slopes: list[float] | None = None) -> Tensor:
    """Attend head by head and query by query; `keep` [T] is False on padding."""
    length, width = q.shape
    size = width // SHAPE["num_attention_heads"]
    out = torch.zeros_like(q)
    for head in range(SHAPE["num_attention_heads"]):
        part = slice(head * size, (head + 1) * size)
        for i in range(length):
            scores = k[:, part] @ q[i, part] / math.sqrt(size)
            if slopes is not None:
                scores = scores - slopes[head] * (torch.arange(length) - i).abs()
            out[i, part] = scores.masked_fill(~keep, -math.inf).softmax(0) @ v[:, part]
    return out


def pre_ln_layers(state: dict[str, Tensor], ids: Tensor, keep: Tensor, *, last_norm: bool) -> list[Tensor]:
    e = "bert.embeddings"
    x = state[f"{e}.word_embeddings.weight"][ids] + state[f"{e}.token_type_embeddings.weight"][0]
    found = [norm(state, f"{e}.LayerNorm", x + state[f"{e}.position_embeddings.weight"][: len(ids)])]
    for number in range(SHAPE["num_hidden_layers"]):
        x, block = found[-1], f"bert.encoder.layer.{number}"
        y = norm(state, f"{block}.pre_attention_ln", x)
        q, k, v = (linear(state, f"{block}.attention.self.{n}", y) for n in ("query", "key", "value"))
        x = x + linear(state, f"{block}.attention.output.dense", attention(q, k, v, keep))
        y = norm(state, f"{block}.post_attention_ln", x)
        y = gelu(linear(state, f"{block}.intermediate.dense", y))
        found.append(x + linear(state, f"{block}.output.dense", y))
    if last_norm:
        found[-1] = norm(state, "bert.encoder.last_layer_ln", found[-1])
    return found


def alibi_layers(state: dict[str, Tensor], ids: Tensor, keep: Tensor, slopes: list[float]) -> list[Tensor]:
    e = "bert.embeddings"
    x = state[f"{e}.word_embeddings.weight"][ids] + state[f"{e}.token_type_embeddings.weight"][0]
    found = [norm(state, f"{e}.LayerNorm", x)]
    for number in range(SHAPE["num_hidden_layers"]):
        x, block = found[-1], f"bert.encoder.layer.{number}"
        q, k, v = linear(state, f"{block}.attention.self.Wqkv", x).split(SHAPE["hidden_size"], dim=-1)
        y = linear(state, f"{block}.attention.output.dense", attention(q, k, v, keep, slopes))
        x = norm(state, f"{block}.attention.output.LayerNorm", x + y)
        gate, value = linear(state, f"{block}.mlp.gated_layers", x).split(SHAPE["intermediate_size"], dim=-1)
        y = linear(state, f"{block}.mlp.wo", gelu(gate) * value)
        found.append(norm(state, f"{block}.mlp.layernorm", x + y))
    return found


def head_logits(state: dict[str, Tensor], x: Tensor) -> Tensor:
    y = gelu(linear(state, "cls.predictions.transform.dense", x))
    return linear(state, "cls.predictions.decoder", norm(state, "cls.predictions.transform.LayerNorm", y))


def assert_same(network: torch.nn.Module, row: int, expected: list[Tensor]) -> None:
    with torch.inference_mode():
        found = list(network.states(IDS, MASK))
        logits = network.logits(found[-1])
    keep = MASK[row]
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours[row][keep], theirs[keep], atol=1e-4, rtol=1e-4)
    theirs = head_logits(network.state_dict(), expected[-1])
    torch.testing.assert_close(logits[row][keep], theirs[keep], atol=1e-4, rtol=1e-4)


def test_layers_and_logits_of_bert_are_those_of_transformers():
    network = shaken(Bert(SHAPE))
    native = BertForMaskedLM(BertConfig(**SHAPE, attn_implementation="eager")).eval()
    native.load_state_dict(network.state_dict())
    with torch.inference_mode():
        expected = native(IDS, attention_mask=MASK.long(), output_hidden_states=True)
        found = list(network.states(IDS, MASK))
        logits = network.logits(found[-1])
    for ours, theirs in zip(found, expected.hidden_states, strict=True):
        torch.testing.assert_close(ours[MASK], theirs[MASK], atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(logits[MASK], expected.logits[MASK], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("last_norm", [True, False])
def test_pre_norm_blocks_follow_the_published_arithmetic(last_norm: bool):
    network = shaken(PreLNBert({**GENA, "last_layer_norm": last_norm}))
    state = network.state_dict()
    assert ("bert.encoder.last_layer_ln.weight" in state) is last_norm
    for row in range(2):
        assert_same(network, row, pre_ln_layers(state, IDS[row], MASK[row], last_norm=last_norm))


def test_native_bert_takes_a_pre_norm_checkpoint_and_gives_other_numbers():
    network = shaken(PreLNBert({**GENA, "last_layer_norm": False}))
    native = shaken(Bert(SHAPE))
    report = native.load_state_dict(network.state_dict(), strict=False)
    assert {n.rpartition(".")[0].rpartition(".")[2] for n in report.missing_keys} == {"LayerNorm"}
    assert {n.split(".")[4] for n in report.unexpected_keys} == {"pre_attention_ln", "post_attention_ln"}
    with torch.no_grad():  # The norms' own weights, put where post-norm BERT has norms, do not help either.
        for ours, theirs in zip(native.bert.encoder.layer, network.bert.encoder.layer, strict=True):
            ours.attention.output.LayerNorm.load_state_dict(theirs.pre_attention_ln.state_dict())
            ours.output.LayerNorm.load_state_dict(theirs.post_attention_ln.state_dict())
    with torch.inference_mode():
        right, wrong = list(network.states(IDS, MASK)), list(native.states(IDS, MASK))
    torch.testing.assert_close(right[0], wrong[0])
    for a, b in zip(right[1:], wrong[1:], strict=True):
        assert float((a - b)[MASK].abs().mean() / a[MASK].std()) > 0.3


def test_alibi_blocks_follow_the_published_arithmetic():
    network = shaken(AlibiBert(SHAPE))
    # Six heads: four slopes of the series for four, and every other one of the series for eight.
    slopes = [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]
    for row in range(2):
        assert_same(network, row, alibi_layers(network.state_dict(), IDS[row], MASK[row], slopes))


def test_the_published_twelve_heads_have_these_slopes():
    eight = [2.0**-i for i in range(1, 9)]
    assert alibi_slopes(12) == pytest.approx([*eight, *(2.0 ** -(i + 0.5) for i in range(4))])
    assert alibi_slopes(8) == eight


def test_alibi_sees_distance_and_no_position():
    network = shaken(AlibiBert({**SHAPE, "max_position_embeddings": 1}))
    with torch.inference_mode():
        *_, same = network.states(torch.full((1, 50), 7))
    torch.testing.assert_close(same[0, 0], same[0, -1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("build", [Bert, lambda c: PreLNBert({**GENA, **c}), AlibiBert])
def test_fresh_weights_are_drawn_as_published(build):
    network = build({**SHAPE, "vocab_size": 400, "hidden_size": 120, "initializer_range": 0.02})
    words = network.bert.embeddings.word_embeddings
    assert network.cls.predictions.decoder.weight is words.weight
    assert not words.weight[3].any()
    for name, parameter in network.named_parameters():
        if parameter.dim() == 2 and parameter.numel() > 5_000:
            assert float(parameter.detach().std()) == pytest.approx(0.02, rel=0.05), name
        elif name.endswith("bias"):
            assert not parameter.any(), name
        elif parameter.dim() == 1:
            assert bool((parameter == 1).all()), name


@pytest.mark.parametrize("name", ["dnabert", "gena_lm", "grover"])
def test_poolers_and_buffers_of_a_checkpoint_are_left_out_knowingly(name: str, tmp_path: Path):
    family = FAMILIES[name]
    network = family.tiny_model().network
    state = {n: t.clone() for n, t in network.state_dict().items()}
    d = family.tiny["hidden_size"]
    extra = {"bert.pooler.dense.weight": torch.ones(d, d), "bert.pooler.dense.bias": torch.ones(d)}
    extra["bert.embeddings.position_ids"] = torch.arange(8).unsqueeze(0)
    # Older files hold the decoder's bias under one of its two names.
    del state["cls.predictions.decoder.bias"]
    save_file({**state, **extra}, tmp_path / "model.safetensors")
    fresh = build_unfilled(lambda: family.network(family.tiny))
    load_strict(fresh, [tmp_path / "model.safetensors"], owner=name, ignored=family.ignored)
    for key, tensor in fresh.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[key]), key


def test_a_post_norm_checkpoint_is_refused_by_gena_lm(tmp_path: Path):
    save_file({n: t.clone() for n, t in Bert(SHAPE).state_dict().items()}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"missing bert\.encoder\.layer\.0\.post_attention_ln|unexpected"):
        load_strict(PreLNBert(GENA), [tmp_path / "model.safetensors"], owner="gena-lm-bert-base")


@pytest.mark.parametrize("name", [n for n in CHECKPOINTS if not n.startswith("dnabert-")])
def test_a_twin_whose_vocabulary_was_not_pulled_says_what_to_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GLMSTORE_MODELS", str(tmp_path))
    with pytest.raises(WeightsError, match=f"glmstore models pull {name}`"):
        get_model(f"rand_init:{name}:0").load("cpu")
    with pytest.raises(WeightsError, match=f"glmstore models pull {name}`"):
        get_model(name).untrained.tokenizer()


def test_checkpoints_are_described_as_published():
    assert sorted(CHECKPOINTS) == [
        *(f"dnabert-{k}" for k in (3, 4, 5, 6)),
        "dnabert2-117m",
        "gena-lm-bert-base",
        "gena-lm-bert-base-t2t",
        "gena-lm-bert-large-t2t",
        "grover",
    ]
    for name in CHECKPOINTS:
        spec = MODELS[name].spec
        assert spec.has_cls
        assert "cls" in spec.poolings
        assert not spec.causal
        assert not spec.scores_masked_bases
        assert spec.n_layers == (24 if "large" in name else 12)


@pytest.mark.parametrize("k", [3, 4, 5, 6])
def test_the_longest_sequence_of_dnabert_fills_its_512_positions(k: int):
    entry = MODELS[f"dnabert-{k}"]
    tokenizer = entry.untrained.tokenizer()
    assert entry.spec.max_nt == 509 + k
    assert tokenizer.sha256 == entry.spec.tokenizer_sha256
    assert len(tokenizer.strings) == entry.untrained.config["vocab_size"]
    assert tokenizer.encode(["A" * entry.spec.max_nt]).ids.shape == (1, 512)
    with pytest.raises(SequenceTooLongError, match="sequence 0: 513 tokens"):
        tokenizer.encode(["A" * (entry.spec.max_nt + 1)])
