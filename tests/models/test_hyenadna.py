"""HyenaDNA: its arithmetic written out again, its filters, its padding, its tokens."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import gelu, pad

from glmstore.errors import SequenceTooLongError, WeightsError
from glmstore.models.architectures.hyena import HyenaDNAForCausalLM, causal_convolution
from glmstore.models.architectures.language_model import LanguageModel
from glmstore.models.checkpoints.loading import build_unfilled, load_strict
from glmstore.models.hyenadna import FAMILY, HYENADNA_MODELS, PAD_ID, SEP_ID, VOCABULARY

SEQUENCE = "ACGTTGCANNATTGCAGGTACCATTTGACGGATCC"


def lively(config: dict, seed: int = 0) -> HyenaDNAForCausalLM:
    """Return a network whose weights are large enough for every term to show."""
    network = FAMILY.untrained_network(config, seed)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return network.eval()


def written_out(state: dict[str, Tensor], ids: Tensor, n_layers: int) -> list[Tensor]:
    """Compute every layer of one sequence [T] in float64, convolutions as sums over distances."""
    state = {name: tensor.double() for name, tensor in state.items()}

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", 0)

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    length = len(ids)
    x = state["hyena.backbone.embeddings.word_embeddings.weight"][ids]
    found = [x]
    for i in range(n_layers):
        at = f"hyena.backbone.layers.{i}"
        u = linear(norm(x, f"{at}.norm1"), f"{at}.mixer.in_proj")
        taps = state[f"{at}.mixer.short_filter.weight"][:, 0]
        before = pad(u, (0, 0, 2, 0))
        u = (
            sum(before[k : k + length] * taps[:, k] for k in range(3))
            + state[f"{at}.mixer.short_filter.bias"]
        )
        gate, inner, value = u.chunk(3, dim=-1)
        value = value * inner
        fn = f"{at}.mixer.filter_fn"
        h = state[f"{fn}.pos_emb.z"][0, :length]
        for j in (0, 2, 4):
            h = torch.sin(state[f"{fn}.implicit_filter.1.freq"] * linear(h, f"{fn}.implicit_filter.{j}"))
        h = linear(h, f"{fn}.implicit_filter.6")
        window = torch.exp(-state[f"{fn}.pos_emb.t"][0, :length] * state[f"{fn}.modulation.deltas"][0].abs())
        h = h * (window + 0.05)
        mixed = torch.stack([(h[: t + 1].flip(0) * value[: t + 1]).sum(0) for t in range(length)])
        x = x + linear(gate * (mixed + value * state[f"{fn}.bias"]), f"{at}.mixer.out_proj")
        hidden = gelu(linear(norm(x, f"{at}.norm2"), f"{at}.mlp.fc1"), approximate="tanh")
        x = x + linear(hidden, f"{at}.mlp.fc2")
        found.append(x)
    found[-1] = norm(x, "hyena.backbone.ln_f")
    return [*found, found[-1] @ state["lm_head.weight"].T]


def test_every_layer_and_the_logits_are_the_published_arithmetic():
    network = lively(FAMILY.tiny)
    ids = FAMILY.tiny_model().encode([SEQUENCE]).ids
    with torch.inference_mode():
        layers = list(network.states(ids))
        found = [*layers, network.logits(layers[-1])]
    expected = written_out(network.state_dict(), ids[0], FAMILY.tiny["n_layer"])
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        # The sines of the filters are steep; float32 leaves five digits of a layer's deviation.
        assert float((ours[0] - theirs).abs().max()) <= 1e-4 * float(theirs.std())


@pytest.mark.parametrize("length", [1, 2, 3, 31, 64, 65])
def test_the_long_convolution_does_not_wrap_around(length: int):
    x, taps = torch.randn(2, length, 3), torch.randn(length, 3)
    direct = torch.stack([(taps[: t + 1].flip(0) * x[:, : t + 1]).sum(1) for t in range(length)], dim=1)
    torch.testing.assert_close(causal_convolution(x, taps), direct, atol=1e-5, rtol=1e-5)


def test_a_filter_tap_depends_on_its_distance_and_not_on_the_length():
    fn = lively(FAMILY.tiny).hyena.backbone.layers[0].mixer.filter_fn
    with torch.inference_mode():
        torch.testing.assert_close(fn.taps(130)[:17], fn.taps(17), atol=1e-6, rtol=1e-6)


def test_filters_stay_in_float32_under_autocast():
    fn = lively(FAMILY.tiny).hyena.backbone.layers[0].mixer.filter_fn
    with torch.inference_mode():
        exact = fn.taps(50)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(fn.taps(50), exact)


def test_much_padding_on_the_right_changes_nothing_and_on_the_left_it_would():
    config = {**FAMILY.tiny, "d_model": 64, "d_inner": 256, "max_seq_len": 1026}
    network = lively(config)
    ids = torch.randint(7, 11, (1, 40), generator=torch.Generator().manual_seed(1))
    padding = torch.full((1, 980), PAD_ID)
    with torch.inference_mode():
        alone, right, left = (
            list(network.states(row))
            for row in (ids, torch.cat([ids, padding], 1), torch.cat([padding, ids], 1))
        )
    for layer, (a, b, c) in enumerate(zip(alone, right, left, strict=True)):
        scale = float(a.std())
        assert float((a - b[:, :40]).abs().max()) / scale <= 2e-5, layer
        if layer:
            assert float((a - c[:, -40:]).abs().max()) / scale > 0.1, layer


def test_no_position_sees_a_later_one():
    model = FAMILY.tiny_model()
    changed = SEQUENCE[:20] + "T" + SEQUENCE[21:]
    assert changed != SEQUENCE
    with torch.inference_mode():
        a, b = (model.hidden_states(model.encode([s]), 2)[0] for s in (SEQUENCE, changed))
    torch.testing.assert_close(a[:20], b[:20], atol=1e-5, rtol=1e-5)
    assert float((a[20:] - b[20:]).abs().max()) > 1e-3


def test_sequences_end_with_a_separator_and_padding_follows():
    batch = FAMILY.tiny_model().encode(["ACGTN", "T"])
    assert batch.ids.tolist() == [[7, 8, 9, 10, 11, SEP_ID], [10, SEP_ID, *[PAD_ID] * 4]]
    assert batch.special_mask.tolist() == [[False] * 5 + [True], [False] + [True] * 5]
    assert batch.attention_mask.sum(1).tolist() == [6, 2]


def test_the_longest_sequence_of_the_context_fits_and_one_more_does_not():
    model = FAMILY.tiny_model()
    assert model.spec.max_nt == FAMILY.tiny["max_seq_len"] - 2
    with torch.inference_mode():
        hidden = model.hidden_states(model.encode(["A" * model.spec.max_nt]), 2)
    assert hidden.shape == (1, model.spec.max_nt + 1, 16)
    with pytest.raises(SequenceTooLongError):
        model.encode(["A" * (model.spec.max_nt + 1)])
    assert [m.spec.max_nt for m in HYENADNA_MODELS] == [
        1_024, 1_024, 16_384, 32_768, 160_000, 450_000, 1_000_000,
    ]  # fmt: skip


def test_a_checkpoint_that_writes_shared_frequencies_once_loads(tmp_path: Path):
    network = lively(FAMILY.tiny)
    state = {n: t.clone() for n, t in network.state_dict().items() if not n.endswith(("3.freq", "5.freq"))}
    save_file(state, tmp_path / "model.safetensors")
    fresh = build_unfilled(lambda: FAMILY.network(FAMILY.tiny))
    load_strict(fresh, [tmp_path / "model.safetensors"], owner="tiny")
    assert all(torch.equal(t, fresh.state_dict()[n]) for n, t in network.state_dict().items())
    del state["lm_head.weight"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"missing lm_head\.weight"):
        load_strict(fresh, [tmp_path / "model.safetensors"], owner="tiny")


def test_fresh_weights_follow_the_pretraining():
    network = FAMILY.untrained_network({**FAMILY.tiny, "d_model": 128, "d_inner": 512, "n_layer": 8}, 0)
    block = network.hyena.backbone.layers[3]
    assert float(block.mlp.fc1.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    for layer in (block.mlp.fc2, block.mixer.out_proj):
        assert float(layer.weight.detach().std()) == pytest.approx(0.02 / math.sqrt(16), rel=0.05)
    assert torch.equal(block.mixer.filter_fn.implicit_filter[1].freq, torch.full((1, 8), 10.0))


def test_a_random_twin_of_a_published_model_embeds_without_its_weights():
    entry = HYENADNA_MODELS[0]
    assert entry.untrained is not None
    spec = entry.spec.model_copy(update={"name": "twin", "revision": entry.untrained.recipe})
    model = entry.untrained.build(spec, 0, "cpu")
    assert isinstance(model, LanguageModel)
    assert len(model.tokenizer.strings) == len(VOCABULARY)
    with torch.inference_mode():
        assert model.hidden_states(model.encode([SEQUENCE]), 2).shape == (1, len(SEQUENCE) + 1, 128)
