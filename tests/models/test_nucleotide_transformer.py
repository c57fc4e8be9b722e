"""Both generations against what they were made from, their files, and their scores of single bases."""

import math
import re
import tomllib
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import EsmConfig, EsmForMaskedLM

from glmstore.errors import SequenceTooLongError
from glmstore.models import FAMILIES, MODELS
from glmstore.models.architectures.esm_rotary import Angles
from glmstore.models.architectures.language_model import BaseMode, LanguageModel
from glmstore.models.checkpoints.loading import build_unfilled, load_strict
from glmstore.models.family import Family

SEQUENCES = ["ACGTTGCANNATTGCAGGTACG", "GATTACA", "TTTACGATCGACTAGCTAGCATCGACTAGCATTTACGGATCCA"]
SEQUENCE = "ACGTTGCATTGACCATGGATCCA"
V1, V2 = "nucleotide-transformer", "nucleotide-transformer-v2"
PUBLISHED = {
    path.stem: tomllib.loads(path.read_text())
    for path in sorted((Path(__file__).parent / "published").glob("nt-*.toml"))
}


@pytest.fixture(params=[V1, V2])
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture
def tiny(family: Family) -> LanguageModel:
    return shaken(family)


def shaken(family: Family) -> LanguageModel:
    """Return the tiny model with every weight drawn anew, so that no bias, norm or table is trivial."""
    model = family.tiny_model()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.network.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=draw))
    return model


def states(model: LanguageModel, ids: torch.Tensor, mask: torch.Tensor | None) -> list[torch.Tensor]:
    with torch.no_grad():
        return list(model.network.states(ids, mask))


@pytest.mark.parametrize("masked", [False, True])
def test_the_first_generation_gives_what_the_native_class_gives(masked: bool):
    model = shaken(FAMILIES[V1])
    native = EsmForMaskedLM(EsmConfig(**FAMILIES[V1].tiny)).eval()
    absent, unexpected = native.load_state_dict(model.network.state_dict(), strict=False)
    assert (set(absent), unexpected) == (
        {"esm.contact_head.regression.weight", "esm.contact_head.regression.bias"},
        [],
    )
    batch = model.encode(SEQUENCES)
    if masked:
        # Masked tokens change the scale of all embeddings of their row.
        batch.ids[0, 2] = batch.ids[2, 3:5] = 2
    with torch.inference_mode():
        expected = native(batch.ids, attention_mask=batch.attention_mask.long(), output_hidden_states=True)
    found = states(model, batch.ids, batch.attention_mask)
    assert len(found) == len(expected.hidden_states) == model.spec.n_layers + 1
    for layer, (a, b) in enumerate(zip(found, expected.hidden_states, strict=True)):
        torch.testing.assert_close(a, b, msg=lambda m, layer=layer: f"layer {layer}: {m}")
    torch.testing.assert_close(model.network.logits(found[-1]).detach(), expected.logits)


def test_embeddings_of_the_first_generation_are_scaled_as_in_training():
    model = FAMILIES[V1].tiny_model()
    ids = torch.tensor([[3, 10, 2, 11]])
    tables = model.network.esm.embeddings
    words = tables.word_embeddings.weight[ids[0]] * torch.tensor([1.0, 1.0, 0.0, 1.0])[:, None]
    expected = words * (1 - 0.15 * 0.8) / (1 - 1 / 4) + tables.position_embeddings.weight[2:6]
    torch.testing.assert_close(states(model, ids, None)[0][0], expected)


def oracle(
    weights: dict[str, torch.Tensor], ids: list[int], n_layers: int, n_heads: int
) -> list[torch.Tensor]:
    """Return every layer [T, D] of one sequence and the logits, position by position and head by head."""

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        y = x @ weights[f"{name}.weight"].T
        return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-12).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def turn(x: torch.Tensor) -> torch.Tensor:
        half = x.shape[-1] // 2
        turned = x.clone()
        for t, i in product(range(len(x)), range(half)):
            angle = t * 10_000 ** (-2 * i / x.shape[-1])
            a, b = x[t, i], x[t, i + half]
            turned[t, i] = a * math.cos(angle) - b * math.sin(angle)
            turned[t, i + half] = b * math.cos(angle) + a * math.sin(angle)
        return turned

    x = weights["esm.embeddings.word_embeddings.weight"][ids]
    found = [x]
    for i in range(n_layers):
        layer = f"esm.encoder.layer.{i}"
        y = norm(x, f"{layer}.attention.LayerNorm")
        query, key, value = (linear(y, f"{layer}.attention.self.{n}") for n in ("query", "key", "value"))
        size = x.shape[-1] // n_heads
        heads = []
        for h in range(n_heads):
            part = slice(h * size, (h + 1) * size)
            scores = turn(query[:, part]) @ turn(key[:, part]).T / math.sqrt(size)
            shares = scores.exp() / scores.exp().sum(-1, keepdim=True)
            heads.append(shares @ value[:, part])
        x = x + linear(torch.cat(heads, -1), f"{layer}.attention.output.dense")
        inner = linear(norm(x, f"{layer}.LayerNorm"), f"{layer}.intermediate.dense")
        gate, passed = inner[:, : inner.shape[1] // 2], inner[:, inner.shape[1] // 2 :]
        x = x + linear(gate / (1 + (-gate).exp()) * passed, f"{layer}.output.dense")
        found.append(x)
    found[-1] = norm(x, "esm.encoder.emb_layer_norm_after")
    y = linear(found[-1], "lm_head.dense")
    y = norm(y * 0.5 * (1 + torch.erf(y / math.sqrt(2))), "lm_head.layer_norm")
    return [*found, linear(y, "lm_head.decoder") + weights["lm_head.bias"]]


def test_the_second_generation_gives_what_its_arithmetic_written_out_gives():
    model = shaken(FAMILIES[V2])
    weights = {n: t.double() for n, t in model.network.state_dict().items()}
    batch = model.encode(SEQUENCES)
    found = states(model, batch.ids, batch.attention_mask)
    found.append(model.network.logits(found[-1]).detach())
    for row, real in enumerate(batch.attention_mask):
        ids = batch.ids[row, real].tolist()
        expected = oracle(weights, ids, model.spec.n_layers, FAMILIES[V2].tiny["num_attention_heads"])
        for layer, (a, b) in enumerate(zip(found, expected, strict=True)):
            torch.testing.assert_close(
                a[row, real].double(), b, atol=2e-5, rtol=2e-5, msg=lambda m, at=layer: f"{at}: {m}"
            )


def test_rotary_scores_of_equal_tokens_depend_on_their_distance_only():
    x = torch.randn(1, 2, 1, 8, generator=torch.Generator().manual_seed(0)).expand(-1, -1, 9, -1)
    turned = Angles.of(9, 8, x.device).rotate(x)
    scores = turned @ turned.transpose(-1, -2)
    for distance in range(9):
        diagonal = scores.diagonal(distance, dim1=-2, dim2=-1)
        torch.testing.assert_close(diagonal, diagonal[..., :1].expand_as(diagonal), atol=1e-5, rtol=1e-5)


def test_the_decoder_has_weights_of_its_own(tiny: LanguageModel):
    network = tiny.network
    assert network.lm_head.decoder.weight is not network.esm.embeddings.word_embeddings.weight


def test_files_with_buffers_and_unused_tables_load_strictly_to_the_same_numbers(
    family: Family, tiny: LanguageModel, tmp_path: Path
):
    extra = {
        "esm.embeddings.position_ids": torch.arange(130)[None],
        "esm.contact_head.regression.weight": torch.ones(1, 6),
        "esm.contact_head.regression.bias": torch.ones(1),
    }
    if family.name == V2:
        extra |= {
            "esm.embeddings.position_embeddings.weight": torch.ones(130, 16),
            **{
                f"esm.encoder.layer.{i}.attention.self.rotary_embeddings.inv_freq": torch.ones(4)
                for i in range(3)
            },
        }
    state = {n: t.contiguous() for n, t in tiny.network.state_dict().items()}
    save_file(state | extra, tmp_path / "model.safetensors")
    torch.save(state | extra, tmp_path / "pytorch_model.bin")
    batch = tiny.encode(SEQUENCES)
    expected = states(tiny, batch.ids, batch.attention_mask)
    for name in ("model.safetensors", "pytorch_model.bin"):
        network = build_unfilled(lambda: family.network(family.tiny))
        load_strict(network, [tmp_path / name], owner="tiny", ignored=family.ignored)
        loaded = LanguageModel(tiny.spec, network, tiny.tokenizer)
        for a, b in zip(states(loaded, batch.ids, batch.attention_mask), expected, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_published_and_left_out_is_ignored_and_nothing_that_is_kept(name: str):
    facts = PUBLISHED[name]
    patterns = FAMILIES[facts["family"]].ignored
    # Of the tensors there is one of for each block, that of block 7 stands for all.
    kept, left_out = ({re.sub(r"\{.*?\}", "7", n) for n in facts[part]} for part in ("tensors", "left_out"))
    ignored = {n for n in kept | left_out if any(re.fullmatch(pattern, n) for pattern in patterns)}
    assert ignored == left_out


@pytest.mark.parametrize("name", PUBLISHED)
def test_with_what_is_left_out_the_parameters_are_as_many_as_published(name: str):
    facts = PUBLISHED[name]
    buffers = ("position_ids", "inv_freq")
    extra = sum(math.prod(s) for n, s in facts["left_out"].items() if not n.endswith(buffers))
    assert facts["n_parameters"] + extra == facts["n_published"]
    if name == "nt-v2-50m":
        assert facts["n_published"] == 55_904_972


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_registered_configuration_is_the_published_one(name: str):
    facts, entry = PUBLISHED[name], MODELS[name]
    assert entry.untrained is not None
    assert entry.untrained.recipe == FAMILIES[facts["family"]].recipe(facts["config"])


@pytest.mark.parametrize("mode", ["marginal", "conditional"])
def test_base_probabilities_sum_to_one_and_are_the_direct_computation(tiny: LanguageModel, mode: BaseMode):
    places = [0, 5, 6, 14, 18, 22]
    found = tiny.base_probs([SEQUENCE] * len(places), places, mode)
    torch.testing.assert_close(found.sum(1), torch.ones(len(places)))
    strings = tiny.tokenizer.strings
    for row, place in enumerate(places):
        start, end = (place // 6 * 6, place // 6 * 6 + 6) if place < 18 else (place, place + 1)
        column = 1 + start // 6 if place < 18 else 4 + place - 18
        batch = tiny.encode([SEQUENCE])
        assert strings[batch.ids[0, column]] == SEQUENCE[start:end]
        batch.ids[0, column] = 2
        with torch.inference_mode():
            p = tiny.logits(batch)[0, column].softmax(-1)
        word, offset = SEQUENCE[start:end], place - start
        sums = []
        for base in "ACGT":
            if mode == "conditional":
                tokens = [word[:offset] + base + word[offset + 1 :]]
            else:
                tokens = ["".join(t) for t in product("ACGT", repeat=end - start) if t[offset] == base]
            sums.append(sum(float(p[strings.index(token)]) for token in tokens))
        torch.testing.assert_close(found[row], torch.tensor(sums) / sum(sums))


@pytest.mark.parametrize("mode", ["marginal", "conditional"])
def test_base_probabilities_do_not_depend_on_the_letter_that_is_hidden(tiny: LanguageModel, mode: BaseMode):
    for place in (3, 20):
        variants = [SEQUENCE[:place] + base + SEQUENCE[place + 1 :] for base in "ACGT"]
        found = tiny.base_probs(variants, [place] * 4, mode)
        torch.testing.assert_close(found, found[:1].expand(4, -1))


def test_letters_beside_the_hidden_one_matter_only_to_the_conditional_mode(tiny: LanguageModel):
    # Both letters lie in the 6-mer that is hidden whole.
    pair = [SEQUENCE, SEQUENCE[:2] + "T" + SEQUENCE[3:]]
    marginal = tiny.base_probs(pair, [3, 3], "marginal")
    torch.testing.assert_close(marginal[0], marginal[1])
    conditional = tiny.base_probs(pair, [3, 3], "conditional")
    assert float((conditional[0] - conditional[1]).abs().max()) > 1e-3


def test_stretches_of_n_that_fill_the_context_are_refused_by_name(tiny: LanguageModel):
    assert tiny.spec.max_nt is not None
    tiny.encode(["ACGTAC" * (tiny.spec.max_nt // 6)])
    with pytest.raises(SequenceTooLongError, match=r"sequence 1: 129 tokens, and the context takes 128"):
        tiny.encode(["ACGT", "N" * 128])


@pytest.mark.parametrize(
    ("name", "nt", "tokens"), [("nt-500m-human-ref", 5974, 1000), ("nt-v2-50m", 12262, 2048)]
)
def test_published_contexts_hold_every_sequence_of_the_stated_length(name: str, nt: int, tokens: int):
    facts = PUBLISHED[name]
    assert MODELS[name].spec.max_nt == nt
    tokenizer = FAMILIES[facts["family"]].tokenizer(facts["config"], None)
    assert tokenizer.encode(["G" * nt]).ids.shape[1] <= tokens
    # Documented upstream: this much fits where nothing is left over.
    assert tokenizer.encode(["G" * 6 * (tokens - 1)]).ids.shape[1] == tokens
    with pytest.raises(SequenceTooLongError, match="tokens"):
        tokenizer.encode(["G" * (nt + 1)])
