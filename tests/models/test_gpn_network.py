"""The GPN port: published names, published arithmetic, and what was added to it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch.nn.functional import conv1d, gelu, layer_norm, linear, one_hot

from glmstore.errors import LayerError, ShapeError, WeightsError
from glmstore.models.architectures.gpn import GPNForMaskedLM, initialise
from glmstore.models.architectures.language_model import LanguageModel
from glmstore.models.base import ModelEntry
from glmstore.models.gpn import FAMILY, entry_from_folder
from glmstore.models.gpn_config import LORA_TARGETS, GPNConfig
from glmstore.models.spec import ModelSpec, Pretraining

TINY = GPNConfig(hidden_size=16, n_layers=3, kernel_size=5, dilation_cycle=2)
SEQUENCES = ["ACGTTGCANNATTGCA", "GATTACA", "T"]
KNOWN_HIDDEN = {
    0: [0.0, 0.0, 0.0],
    1: [-2.1422, 1.0502, -1.14438],
    2: [-2.51623, 0.81258, 0.99394],
    3: [0.77554, -0.88447, 1.09138],
}
KNOWN_LOGITS = [-0.02096, -0.05121, 0.05322, 0.13448, 0.07305, 0.02714, -0.14919]


SEEN = Pretraining(species=("Homo sapiens",), assembly=None, chromosomes=None)


def spec() -> ModelSpec:
    facts = {"summary": "for tests", "revision": "tiny", "licence": "Apache-2.0", "pretraining": SEEN}
    return FAMILY.describe(TINY.model_dump(), name="tiny", n_parameters=TINY.n_parameters, **facts)


@pytest.fixture
def tiny() -> LanguageModel:
    return LanguageModel(spec(), initialise(TINY, seed=0), FAMILY.tokenizer({}, None))


def published_forward(state: dict[str, torch.Tensor], ids: torch.Tensor) -> list[torch.Tensor]:
    """Every layer of the upstream network written out in functions: no padding mask, plain Conv1d."""
    states = [one_hot(ids, TINY.hidden_size).float()]
    for i, dilation in enumerate(TINY.dilations):
        x, at = states[-1], f"model.encoder.{i}"
        y = conv1d(
            x.transpose(1, 2),
            state[f"{at}.conv.1.weight"],
            state[f"{at}.conv.1.bias"],
            padding="same",
            dilation=dilation,
        )
        norm = layer_norm(
            gelu(y.transpose(1, 2)), (16,), state[f"{at}.conv.4.weight"], state[f"{at}.conv.4.bias"]
        )
        x = x + norm
        y = gelu(linear(x, state[f"{at}.ffn.0.weight"], state[f"{at}.ffn.0.bias"]))
        states.append(x + layer_norm(y, (16,), state[f"{at}.ffn.2.weight"], state[f"{at}.ffn.2.bias"]))
    return states


def test_parameters_carry_the_published_names_and_shapes():
    network = GPNForMaskedLM(GPNConfig(n_layers=1))
    assert {name: tuple(p.shape) for name, p in network.named_parameters()} == {
        "model.encoder.0.conv.1.weight": (512, 512, 9),
        "model.encoder.0.conv.1.bias": (512,),
        "model.encoder.0.conv.4.weight": (512,),
        "model.encoder.0.conv.4.bias": (512,),
        "model.encoder.0.ffn.0.weight": (512, 512),
        "model.encoder.0.ffn.0.bias": (512,),
        "model.encoder.0.ffn.2.weight": (512,),
        "model.encoder.0.ffn.2.bias": (512,),
        "cls.decoder.0.weight": (512, 512),
        "cls.decoder.0.bias": (512,),
        "cls.decoder.2.weight": (512,),
        "cls.decoder.2.bias": (512,),
        "cls.decoder.3.weight": (7, 512),
        "cls.decoder.3.bias": (7,),
    }


def test_published_shape_has_25_blocks_and_cycling_dilations():
    config = GPNConfig()
    assert (config.n_layers, config.hidden_size, config.kernel_size) == (25, 512, 9)
    assert config.dilations[:8] == (1, 2, 4, 8, 16, 32, 1, 2)
    assert config.receptive_field == 1 + 8 * (4 * 63 + 1)


@pytest.mark.parametrize("config", [TINY, GPNConfig(hidden_size=24, n_layers=2)])
def test_parameter_count_is_that_of_the_network(config: GPNConfig):
    assert config.n_parameters == sum(p.numel() for p in GPNForMaskedLM(config).parameters())


def test_even_kernels_are_refused():
    with pytest.raises(ValidationError, match="must be odd"):
        GPNConfig(kernel_size=8)


# Processors add up in orders of their own: by 2e-6 another without AVX-512, by 4e-6 one with AVX2 alone.
ROUNDING = {"atol": 2e-5, "rtol": 2e-5}


def test_every_layer_equals_the_published_blocks_written_out(tiny: LanguageModel):
    batch = tiny.encode(SEQUENCES[:1])
    with torch.inference_mode():
        expected = published_forward(tiny.network.state_dict(), batch.ids)
        for layer, want in enumerate(expected):
            torch.testing.assert_close(tiny.hidden_states(batch, layer), want, **ROUNDING)


def test_hidden_states_and_logits_of_seed_0_are_known(tiny: LanguageModel):
    batch = tiny.encode(SEQUENCES[:1])
    with torch.inference_mode():
        for layer, known in KNOWN_HIDDEN.items():
            got = tiny.hidden_states(batch, layer)[0, 6, [3, 8, 15]].tolist()
            assert got == pytest.approx(known, abs=1e-4)
        assert tiny.logits(batch)[0, 6].tolist() == pytest.approx(KNOWN_LOGITS, abs=1e-4)


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_padding_reaches_no_real_position(tiny: LanguageModel, layer: int):
    together = tiny.hidden_states(tiny.encode(SEQUENCES), layer)
    for row, sequence in zip(together, SEQUENCES, strict=True):
        alone = tiny.hidden_states(tiny.encode([sequence]), layer)[0]
        torch.testing.assert_close(row[: len(sequence)], alone, atol=1e-5, rtol=0)


def test_later_blocks_are_not_computed(tiny: LanguageModel):
    def refuse(*_: object) -> None:
        raise AssertionError("a block past the layer asked for was run")

    tiny.network.model.encoder[2].register_forward_pre_hook(refuse)
    assert tiny.hidden_states(tiny.encode(SEQUENCES), 2).shape == (3, 16, 16)
    with pytest.raises(AssertionError):
        tiny.hidden_states(tiny.encode(SEQUENCES), 3)


def test_layers_it_does_not_have_are_refused(tiny: LanguageModel):
    with pytest.raises(LayerError, match="layers 0 to 3"):
        tiny.hidden_states(tiny.encode(SEQUENCES), 4)


def shipped(tmp_path: Path, config: GPNConfig = TINY, sha256: str | None = None) -> ModelEntry:
    """Return the entry of the tiny network as an export would have written it."""
    state = {n: t.clone() for n, t in initialise(TINY, seed=0).state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    found = sha256 or hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    card = {"name": "tiny", "weights_sha256": found}
    (tmp_path / "config.json").write_text(json.dumps({**config.model_dump(), "glmstore": card}))
    return entry_from_folder(tmp_path, summary="for tests")


def test_weights_survive_a_round_trip_through_a_file(tiny: LanguageModel, tmp_path: Path):
    loaded = shipped(tmp_path).load("cpu")
    batch = tiny.encode(SEQUENCES)
    assert torch.equal(loaded.logits(batch), tiny.logits(batch))


def test_weights_that_are_not_the_pinned_ones_are_refused(tmp_path: Path):
    with pytest.raises(WeightsError, match="not 0000"):
        shipped(tmp_path, sha256="0" * 64).load("cpu")


def test_missing_and_misshapen_weights_are_refused(tmp_path: Path):
    entry = shipped(tmp_path, TINY.model_copy(update={"kernel_size": 9}))
    with pytest.raises(WeightsError, match=r"conv\.1\.weight is \[16, 16, 5\], not \[16, 16, 9\]"):
        entry.load("cpu")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="tiny cannot be read"):
        entry.load("cpu")


def test_lora_reaches_every_convolution_and_feed_forward_layer_and_nothing_else(tiny: LanguageModel):
    from peft import LoraConfig, inject_adapter_in_model

    network = inject_adapter_in_model(LoraConfig(r=2, target_modules=LORA_TARGETS, bias="none"), tiny.network)
    batch = tiny.encode(SEQUENCES)
    before = tiny.hidden_states(batch, 3)
    before[batch.attention_mask].square().sum().backward()
    gradients = {n: p.grad for n, p in network.named_parameters() if p.requires_grad}
    adapted = {n.split(".lora_")[0] for n in gradients}
    assert adapted == {f"model.encoder.{i}.{part}" for i in range(3) for part in ("conv.1", "ffn.0")}
    assert all(".lora_" in name for name in gradients)
    assert all(bool(g.abs().sum() > 0) for n, g in gradients.items() if ".lora_B" in n)


def test_masked_probabilities_do_not_look_at_the_masked_base(tiny: LanguageModel):
    probs = tiny.base_probs(["ACGTAC", "ACTTAC", "ACGTAC"], [2, 2, 0])
    assert probs.dtype == torch.float32
    assert probs.shape == (3, 4)
    torch.testing.assert_close(probs.sum(dim=1), torch.ones(3))
    assert torch.equal(probs[0], probs[1])
    assert not torch.allclose(probs[0], probs[2])


def test_masked_probabilities_stay_float32_under_autocast(tiny: LanguageModel):
    plain = tiny.base_probs(["ACGTAC"], [2])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(tiny.base_probs(["ACGTAC"], [2]), plain)


def test_masked_probabilities_refuse_ragged_sequences_and_positions_outside(tiny: LanguageModel):
    with pytest.raises(ShapeError, match="one length"):
        tiny.base_probs(["ACG", "AC"], [0, 0])
    with pytest.raises(ShapeError, match="position 3"):
        tiny.base_probs(["ACG"], [3])


def test_random_weights_depend_on_the_seed_and_not_on_the_global_generator():
    torch.manual_seed(1)
    first = initialise(TINY, 7).state_dict()
    drawn_after = torch.rand(1)
    torch.manual_seed(2)
    second = initialise(TINY, 7).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(
        not torch.equal(first[name], value) for name, value in initialise(TINY, 8).state_dict().items()
    )
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn_after)


def test_reverse_complements_are_not_embedded_alike(tiny: LanguageModel):
    forward, reverse = (tiny.hidden_states(tiny.encode([s]), 3)[0] for s in ("ACGGTTA", "TAACCGT"))
    assert tiny.spec.rc_equivariant is False
    assert float(np.abs(forward.detach().numpy() - reverse.flip(0).detach().numpy()).max()) > 0.1
