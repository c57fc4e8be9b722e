"""Caduceus: the scan against transformers' Mamba, the blocks written out again, and both strands alike."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer, mamba_selective_scan

from glmstore.models.architectures import mamba
from glmstore.models.architectures.caduceus import Reversal
from glmstore.models.caduceus import COMPLEMENTS, PH_FAMILY, PS_FAMILY, VOCABULARY
from glmstore.models.checkpoints.loading import build_unfilled, load_strict
from glmstore.models.family import Family
from glmstore.sequences.onehot import reverse_complement

SEQUENCE = "ACGGTTACGATTGCAACGNTTACGATTG"
FAMILIES = pytest.mark.parametrize("family", [PH_FAMILY, PS_FAMILY], ids=lambda f: f.name)


def lively(family: Family, **changes: Any) -> Any:
    """Return a network whose weights are large enough for every term to show."""
    network = family.untrained_network({**family.tiny, **changes}, 0)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return network.eval()


def ids_of(sequence: str) -> Tensor:
    return PH_FAMILY.tiny_model().encode([sequence]).ids


def scan_inputs(rows: int, length: int, channels: int, states: int, **options: Any) -> tuple[Tensor, ...]:
    make = torch.Generator().manual_seed(3)
    x, dt = (torch.randn(rows, length, channels, generator=make, **options) for _ in range(2))
    b, c = (torch.randn(rows, length, states, generator=make, **options) for _ in range(2))
    return x, dt.abs() * 0.1, -torch.rand(channels, states, generator=make, **options) * 4, b, c


@pytest.mark.parametrize("length", [1, 3, 50])
def test_the_mixer_is_that_of_transformers_on_the_same_weights(length: int):
    ours = lively(PH_FAMILY, d_model=40).caduceus.backbone.layers[0].mixer.mamba_fwd
    config = MambaConfig(hidden_size=40, state_size=16, conv_kernel=4, expand=2, num_hidden_layers=1)
    theirs = MambaMixer(config, layer_idx=0).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, length, 40)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("chunk", [1, 7 * 96, 10**9])
def test_a_scan_in_chunks_is_the_scan(chunk: int, monkeypatch: pytest.MonkeyPatch):
    x, dt, a, b, c = scan_inputs(2, 23, 8, 6, dtype=torch.float64)
    state, expected = x.new_zeros(2, 8, 6), []
    for t in range(23):
        state = torch.exp(dt[:, t, :, None] * a) * state + (dt * x)[:, t, :, None] * b[:, t, None]
        expected.append((state * c[:, t, None]).sum(-1))
    monkeypatch.setattr(mamba, "CHUNK_ELEMENTS", chunk)
    torch.testing.assert_close(mamba.selective_scan(x, dt, a, b, c), torch.stack(expected, 1))


def test_gradients_of_a_scan_are_exact(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mamba, "CHUNK_ELEMENTS", 2 * 6 * 2)
    inputs = [t.requires_grad_() for t in scan_inputs(1, 5, 3, 2, dtype=torch.float64)]
    assert torch.autograd.gradcheck(mamba.selective_scan, inputs)


def test_a_fused_kernel_gets_its_arguments_in_its_own_layout():
    inputs = scan_inputs(2, 23, 8, 6)
    # Called like mamba-ssm's selective_scan_fn, whose stand-in it is.
    found = mamba.run_fused(mamba_selective_scan, *inputs)
    torch.testing.assert_close(found, mamba.selective_scan(*inputs), atol=1e-5, rtol=1e-5)


def test_sequences_turn_within_their_own_length():
    x = torch.arange(5.0).repeat(2, 1).unsqueeze(-1)
    reverse = Reversal(torch.tensor([[True] * 5, [True] * 3 + [False] * 2]))
    assert reverse(x)[..., 0].tolist() == [[4, 3, 2, 1, 0], [2, 1, 0, 3, 4]]
    assert torch.equal(reverse(reverse(x)), x)
    twice = torch.cat([x, x])
    assert torch.equal(reverse(twice), torch.cat([reverse(x), reverse(x)]))
    assert torch.equal(Reversal(None)(x), x.flip(1))


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight


def both_directions(mixer: Any, x: Tensor) -> Tensor:
    out: Tensor = mixer.mamba_fwd(x) + mixer.mamba_rev(x.flip(1)).flip(1)
    return out


def turned(x: Tensor) -> Tensor:
    return x.flip(1, 2)


def plain_states(network: Any, ids: Tensor) -> Iterator[Tensor]:
    """The plain network as published: a residual that every block adds to before it norms."""
    backbone = network.caduceus.backbone
    hidden, residual = backbone.embeddings.word_embeddings(ids), 0
    yield hidden
    for block in backbone.layers:
        residual = hidden + residual
        hidden = both_directions(block.mixer, rms(residual, block.norm.weight))
        yield hidden + residual


def shared_states(network: Any, ids: Tensor) -> Iterator[Tensor]:
    """The network with shared parameters as published, with its fused norm's order of the halves."""
    backbone = network.caduceus.backbone
    words = backbone.embeddings.word_embeddings
    d = words.embedding.embedding_dim
    other = words.embedding(words.complement_map[ids.flip(1)])
    hidden, residual = torch.cat([words.embedding(ids), turned(other)], -1), torch.zeros(1)
    yield hidden
    for block in backbone.layers:
        total = hidden + residual
        first, second = total[..., d:], turned(total[..., :d])
        residual = torch.cat([first, turned(second)], -1)
        normed = torch.cat([rms(first, block.norm.weight), turned(rms(second, block.norm.weight))], -1)
        mixer = block.mixer.submodule
        hidden = torch.cat(
            [
                both_directions(mixer, normed[..., :d]),
                turned(both_directions(mixer, turned(normed[..., d:]))),
            ],
            -1,
        )
        yield hidden + residual


@FAMILIES
def test_every_layer_is_the_published_arithmetic(family: Family):
    network, ids = lively(family), ids_of(SEQUENCE)
    weight = network.caduceus.backbone.norm_f.weight
    with torch.inference_mode():
        found = list(network.states(ids))
        if family is PS_FAMILY:
            expected = list(shared_states(network, ids))
            first, second = expected[-1].chunk(2, dim=-1)
            expected[-1] = torch.cat([rms(first, weight), turned(rms(turned(second), weight))], -1)
        else:
            expected = list(plain_states(network, ids))
            expected[-1] = rms(expected[-1], weight)
    assert len(found) == family.tiny["n_layer"] + 1
    for layer, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=2e-5, msg=lambda m, i=layer: f"{i}: {m}")


def test_strands_that_keep_their_places_are_the_plain_network_on_each():
    shared = lively(PS_FAMILY, fused_add_norm=False)
    plain = PH_FAMILY.network(PH_FAMILY.tiny).eval()
    renamed = {
        n.replace(".submodule", "")
        .replace("words.embedding", "words")
        .replace("lm_head.lm_head", "lm_head"): t
        for n, t in shared.state_dict().items()
        if not n.endswith("complement_map")
    }
    plain.load_state_dict(
        {n.replace("word_embeddings.embedding", "word_embeddings"): t for n, t in renamed.items()}
    )
    with torch.inference_mode():
        *_, both = shared.states(ids_of(SEQUENCE))
        *_, forward = plain.states(ids_of(SEQUENCE))
        *_, backward = plain.states(ids_of(reverse_complement(SEQUENCE)))
    torch.testing.assert_close(both, torch.cat([forward, turned(backward)], -1), atol=1e-5, rtol=1e-5)


def test_the_published_order_of_the_halves_is_another_function():
    swapping, fixed = lively(PS_FAMILY), lively(PS_FAMILY, fused_add_norm=False)
    with torch.inference_mode():
        a, b = (list(n.states(ids_of(SEQUENCE)))[2][..., :16] for n in (swapping, fixed))
    assert float((a - b).abs().max()) > 0.1


def test_reverse_complements_have_the_same_vectors_reversed_in_any_batch():
    model = PS_FAMILY.tiny_model()
    model.network.load_state_dict(lively(PS_FAMILY).state_dict())
    sequences = [SEQUENCE, "GATTACA", "ACGTN" * 9]
    forward, back = model.encode(sequences), model.encode([reverse_complement(s) for s in sequences])
    with torch.inference_mode():
        for a, b in zip(model.layers(forward), model.layers(back), strict=True):
            for row, length in enumerate(forward.lengths.tolist()):
                torch.testing.assert_close(a[row, :length], b[row, :length].flip(0, 1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("position", [0, 5, len(SEQUENCE) - 1])
def test_base_probabilities_of_the_other_strand_are_those_of_the_complements(position: int):
    model = PS_FAMILY.tiny_model()
    model.network.load_state_dict(lively(PS_FAMILY).state_dict())
    here = model.base_probs([SEQUENCE], [position])
    there = model.base_probs([reverse_complement(SEQUENCE)], [len(SEQUENCE) - 1 - position])
    torch.testing.assert_close(here, there.flip(1), atol=1e-5, rtol=1e-5)
    assert float((here - 0.25).abs().max()) > 0.01


@FAMILIES
def test_what_is_right_of_a_position_reaches_it(family: Family):
    model = family.tiny_model()
    model.network.load_state_dict(lively(family).state_dict())
    with torch.inference_mode():
        a, b = (model.hidden_states(model.encode([s]), 3)[0, 0] for s in (SEQUENCE, SEQUENCE[:-1] + "A"))
    assert float((a - b).abs().max()) > 1e-4


def test_the_complement_map_swaps_the_bases_and_leaves_the_rest():
    pairs = {VOCABULARY[i]: VOCABULARY[COMPLEMENTS[str(i)]] for i in range(len(VOCABULARY))}
    assert {k: v for k, v in pairs.items() if k != v} == {"A": "T", "C": "G", "G": "C", "T": "A"}
    assert all(COMPLEMENTS[str(COMPLEMENTS[i])] == int(i) for i in COMPLEMENTS)


@FAMILIES
def test_there_are_no_special_tokens(family: Family):
    batch = family.tiny_model().encode(["ACGTN", "T"])
    assert batch.ids.tolist() == [[7, 8, 9, 10, 11], [10, 4, 4, 4, 4]]
    assert torch.equal(batch.special_mask, ~batch.attention_mask)


@FAMILIES
def test_a_checkpoint_that_writes_tied_tensors_once_loads(family: Family, tmp_path: Path):
    network = lively(family)
    tied = ("mamba_rev.in_proj.weight", "mamba_rev.out_proj.weight", "lm_head.weight")
    state = {n: t.clone() for n, t in network.state_dict().items() if not n.endswith(tied)}
    assert len(state) == len(network.state_dict()) - 2 * family.tiny["n_layer"] - 1
    save_file(state, tmp_path / "model.safetensors")
    fresh = build_unfilled(lambda: family.network(family.tiny))
    load_strict(fresh, [tmp_path / "model.safetensors"], owner="tiny")
    assert all(torch.equal(t, fresh.state_dict()[n]) for n, t in network.state_dict().items())


def test_an_adapter_of_a_shared_projection_serves_both_directions():
    from peft import LoraConfig, inject_adapter_in_model

    network = lively(PH_FAMILY)
    ids = ids_of(SEQUENCE)
    with torch.inference_mode():
        *_, before = network.states(ids)
    adapted = inject_adapter_in_model(LoraConfig(r=2, target_modules=["in_proj"], bias="none"), network)
    lora = [m for n, m in adapted.named_modules() if n.endswith("lora_B.default")]
    assert len(lora) == PH_FAMILY.tiny["n_layer"]
    with torch.inference_mode():
        *_, unchanged = adapted.states(ids)
        torch.testing.assert_close(unchanged, before)
        for module in lora:
            assert isinstance(module, nn.Linear)
            module.weight.fill_(0.5)
        mixer = adapted.caduceus.backbone.layers[0].mixer
        x = torch.randn(1, 9, 16)
        direct = mixer.mamba_fwd.in_proj(x)
        found = mixer(x, Reversal(None))
        expected = mixer.mamba_fwd.mix(direct) + mixer.mamba_rev.mix(direct.flip(1)).flip(1)
        torch.testing.assert_close(found, mixer.mamba_fwd.out_proj(expected))
        *_, after = adapted.states(ids)
    assert float((after - before).abs().max()) > 1e-3


def test_fresh_step_sizes_lie_in_their_range():
    bias = PH_FAMILY.untrained_network({**PH_FAMILY.tiny, "d_model": 256, "n_layer": 1}, 0).state_dict()[
        "caduceus.backbone.layers.0.mixer.mamba_rev.dt_proj.bias"
    ]
    steps = nn.functional.softplus(bias)
    assert 0.001 <= float(steps.min()) < 0.002
    assert 0.05 < float(steps.max()) <= 0.1001
