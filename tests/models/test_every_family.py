"""What every model family promises: known answers on tiny weights, and the published names and shapes."""

import itertools
import tomllib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from glmstore.models import FAMILIES, MODELS
from glmstore.models.architectures.language_model import LanguageModel
from glmstore.models.checkpoints.fitting import config_differences, own_architecture
from glmstore.models.checkpoints.keras import read_keras
from glmstore.models.checkpoints.loading import build_unfilled, load_strict
from glmstore.models.checkpoints.presence import shipped_folder
from glmstore.models.family import Family
from glmstore.models.known_answers import KNOWN, TOLERANCE, answer, read_known
from glmstore.sequences.onehot import reverse_complement

PUBLISHED = Path(__file__).parent / "published"
SEQUENCES = ["ACGTTGCANNATTGCAGGT", "GATTACA", "TTTACGATCGACTAGCTAGCATCGACTAGCATTT", "ACGACC"]
BATCH_TOLERANCE = 2e-5
"""Largest difference that batch, padding and order may make on CPU, in units of a layer's deviation."""
BF16_TOLERANCE = 0.15
"""Largest mean absolute bf16 deviation of a layer, in units of its standard deviation, on tiny weights."""


@pytest.fixture(params=FAMILIES.names())
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture
def tiny(family: Family) -> LanguageModel:
    return family.tiny_model()


def all_layers(model: LanguageModel, sequences: list[str]) -> list[torch.Tensor]:
    with torch.inference_mode():
        return [x.float() for x in model.layers(model.encode(sequences))]


def test_every_layer_and_the_logits_of_seed_0_are_known(family: Family):
    known = read_known(family.name)
    found = answer(family)
    assert found.keys() == known.keys()
    for place, values in known.items():
        np.testing.assert_allclose(found[place], values, atol=TOLERANCE, rtol=TOLERANCE, err_msg=place)


def test_every_family_has_a_known_answer_and_nothing_else_has():
    assert {p.stem for p in KNOWN.glob("*.json")} == set(FAMILIES.names())


def test_layers_stream_and_later_blocks_are_not_computed(tiny: LanguageModel):
    batch = tiny.encode(SEQUENCES)
    calls: list[torch.nn.Module] = []
    for module in tiny.network.modules():
        module.register_forward_hook(lambda m, *_: calls.append(m))
    with torch.inference_mode():
        asked = itertools.islice(tiny.layers(batch), tiny.spec.n_layers)
        counts = [len(calls) for _ in asked]
        before_last = len(calls)
        list(tiny.layers(batch))
    assert counts == sorted(counts)
    assert before_last < len(calls) - before_last


def test_weights_survive_a_file_and_load_strictly(family: Family, tiny: LanguageModel, tmp_path: Path):
    state = {n: t.clone().contiguous() for n, t in tiny.network.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    fresh = build_unfilled(lambda: family.network(family.tiny))
    load_strict(fresh, [tmp_path / "model.safetensors"], owner="tiny", ignored=family.ignored)
    loaded = LanguageModel(tiny.spec, fresh, tiny.tokenizer)
    for a, b in zip(all_layers(tiny, SEQUENCES), all_layers(loaded, SEQUENCES), strict=True):
        assert torch.equal(a, b)


def test_an_embedding_depends_neither_on_batch_nor_padding_nor_order(tiny: LanguageModel):
    together, turned = all_layers(tiny, SEQUENCES), all_layers(tiny, SEQUENCES[::-1])
    for row, sequence in enumerate(SEQUENCES):
        for layer, alone in enumerate(all_layers(tiny, [sequence])):
            scale = float(alone.std()) or 1.0
            width = alone.shape[1]
            for states, place in ((together, row), (turned, len(SEQUENCES) - 1 - row)):
                off = float((states[layer][place, :width] - alone[0]).abs().max()) / scale
                assert off <= BATCH_TOLERANCE, (layer, sequence, off)


def test_bf16_stays_close_to_fp32(tiny: LanguageModel):
    exact = all_layers(tiny, SEQUENCES)
    with torch.autocast("cpu", torch.bfloat16):
        half = all_layers(tiny, SEQUENCES)
    real = tiny.encode(SEQUENCES).special_mask.logical_not()
    for layer, (a, b) in enumerate(zip(exact, half, strict=True)):
        off = float((a - b)[real].abs().mean()) / (float(a[real].std()) or 1.0)
        assert off <= BF16_TOLERANCE, (layer, off)


def test_lora_gradients_reach_the_named_layers_and_nothing_else(tiny: LanguageModel):
    from peft import LoraConfig, inject_adapter_in_model

    targets = tiny.spec.lora_targets
    if targets is None:
        assert tiny.spec.objective == "supervised"
        return
    listed = list(targets) if isinstance(targets, tuple) else targets
    network = inject_adapter_in_model(LoraConfig(r=2, target_modules=listed, bias="none"), tiny.network)
    batch = tiny.encode(SEQUENCES)
    hidden = tiny.hidden_states(batch, tiny.spec.n_layers)
    hidden[~batch.special_mask].square().sum().backward()
    gradients = {n: p.grad for n, p in network.named_parameters() if p.requires_grad}
    assert gradients
    assert all(".lora_" in name for name in gradients)
    assert all(bool(g.abs().sum() > 0) for n, g in gradients.items() if ".lora_B" in n)


def test_reverse_complements_do_what_the_description_says(tiny: LanguageModel):
    sequence = "ACGGTTACGATTGCAACGGTTACGATTG"
    forward = all_layers(tiny, [sequence])[-1][0]
    back = all_layers(tiny, [reverse_complement(sequence)])[-1][0]
    if not tiny.spec.rc_equivariant:
        width = min(len(forward), len(back))
        assert float((forward[:width] - back[:width].flip(0)).abs().max()) > 1e-3
        return
    # Parameter sharing over strands puts the other strand's channels behind, in reverse order.
    real = ~tiny.encode([sequence]).special_mask[0]
    torch.testing.assert_close(forward[real], back[real].flip(0, 1), atol=1e-4, rtol=1e-4)


# Every network of ours, on a hub or not. Without an architecture it is another package's; what comes with
# this one is published nowhere else.
CHECKPOINTS = [e.name for e in MODELS if own_architecture(e) is not None and shipped_folder(e.name) is None]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_parameters_carry_the_published_names_and_shapes(name: str, tmp_path: Path):
    facts = tomllib.loads((PUBLISHED / f"{name}.toml").read_text())
    family, architecture = FAMILIES[facts["family"]], own_architecture(MODELS[name])
    assert architecture is not None
    assert (architecture.family, config_differences(architecture.config, facts["config"])) == (family, [])
    with torch.device("meta"):
        network = architecture.network()
    ours = {n: list(p.shape) for n, p in network.state_dict().items()}
    expected = dict(_expand(facts["tensors"])) if "tensors" in facts else _converted(facts, tmp_path)
    rename = family.rename or (lambda n: n)
    assert {rename(n): s for n, s in expected.items()} == ours
    count = sum(p.numel() for p in network.parameters())
    assert count == MODELS[name].spec.n_parameters == facts["n_parameters"]
    assert facts["source"]


def _converted(facts: dict[str, Any], folder: Path) -> dict[str, list[int]]:
    """Return what a Keras file with the published variables becomes: torch's names and axes."""
    variables = dict(_expand(facts["keras_variables"]))
    with h5py.File(folder / "model.h5", "w") as file:
        for name, shape in variables.items():
            layer = file.require_group(f"model_weights/{name.partition('/')[0]}")
            layer.attrs["weight_names"] = [*layer.attrs.get("weight_names", ()), f"{name}:0"]
            layer.create_dataset(f"{name}:0", shape=shape, dtype="float32")
    return {name: list(tensor.shape) for name, tensor in read_keras(folder / "model.h5").items()}


def _expand(tensors: dict[str, list[int]]) -> list[tuple[str, list[int]]]:
    """Write out ``{a..b}`` in names: one tensor for each number from a to b."""
    found = []
    for name, shape in tensors.items():
        head, brace, rest = name.partition("{")
        if not brace:
            found.append((name, shape))
            continue
        numbers, _, tail = rest.partition("}")
        first, last = map(int, numbers.split(".."))
        found += _expand({f"{head}{i}{tail}": shape for i in range(first, last + 1)})
    return found


def test_every_published_list_belongs_to_a_checkpoint():
    assert {p.stem for p in PUBLISHED.glob("*.toml")} == set(CHECKPOINTS)
