"""The causal decoders against transformers' own, and the tokens they read."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from glmstore.errors import SequenceTooLongError
from glmstore.models import FAMILIES, MODELS
from glmstore.models.architectures.decoder import LlamaDecoder, MixtralDecoder, SparseExperts
from glmstore.models.checkpoints.loading import build_unfilled, load_strict
from glmstore.models.tokenizers.generator import BOS_ID, OOV_ID, PAD_ID, SPECIALS, GeneratorTokenizer

SHAPE = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500_000.0,
    "initializer_range": 0.2,
}
EXPERTS = {**SHAPE, "num_local_experts": 4, "num_experts_per_tok": 2}
CAUSAL = ["generator", "llama-char", "mistral-dna"]
IDS = torch.randint(0, 40, (3, 37), generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def written(network: torch.nn.Module, folder: Path, **config: object) -> Path:
    """Write a folder as transformers 4 wrote them: published tensor names and a configuration."""
    state = {n: t.clone().contiguous() for n, t in network.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def native_states(folder: Path) -> list[torch.Tensor]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.inference_mode():
        out = model(IDS, output_hidden_states=True, use_cache=False)
    return [*out.hidden_states, out.logits]


@pytest.mark.parametrize(
    ("network", "config", "kind"),
    [
        (LlamaDecoder, SHAPE, "llama"),
        (MixtralDecoder, EXPERTS, "mixtral"),
        (MixtralDecoder, {**EXPERTS, "num_experts_per_tok": 1}, "mixtral"),
    ],
    ids=["llama", "mixtral of two experts a token", "mixtral of one"],
)
def test_transformers_reads_the_same_checkpoint_and_gives_the_same_states(
    network: type, config: dict[str, object], kind: str, tmp_path: Path
) -> None:
    ours = network(config).eval()
    folder = written(
        ours,
        tmp_path,
        **config,
        model_type=kind,
        architectures=[f"{kind.title()}ForCausalLM"],
        torch_dtype="float32",
    )
    with torch.inference_mode():
        states = list(ours.states(IDS))
        found = [*states, ours.logits(states[-1])]
    expected = native_states(folder)
    assert len(found) == len(expected) == 3 + 1 + 1
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=2e-6, rtol=2e-5)


@pytest.mark.parametrize(("network", "config"), [(LlamaDecoder, SHAPE), (MixtralDecoder, EXPERTS)])
def test_rotary_frequencies_follow_the_configuration_also_where_no_weights_are_drawn(
    network: type, config: dict[str, object]
) -> None:
    expected = torch.tensor([500_000.0 ** (-i / 8) for i in (0, 2, 4, 6)])
    for built in (network(config), build_unfilled(lambda: network(config))):
        torch.testing.assert_close(built.model.rotary_emb.inv_freq, expected)
        assert not [name for name in built.state_dict() if "inv_freq" in name]


def test_a_sliding_window_is_refused() -> None:
    with pytest.raises(ValueError, match="sliding window"):
        MixtralDecoder({**EXPERTS, "sliding_window": 16})


def test_every_token_is_the_weighted_sum_of_its_experts() -> None:
    from transformers import MixtralConfig

    moe = SparseExperts(MixtralConfig(**EXPERTS))
    x = torch.randn(2, 5, 32)
    with torch.no_grad():
        found = moe(x)
        for row, place in ((0, 0), (1, 3)):
            token = x[row, place]
            share = moe.gate(token).softmax(dim=0)
            best = share.argsort(descending=True)[:2]
            parts = [share[e] / share[best].sum() * moe.experts[e](token) for e in best.tolist()]
            torch.testing.assert_close(found[row, place], parts[0] + parts[1])


def test_bf16_sends_every_token_to_the_experts_of_fp32() -> None:
    from transformers import MixtralConfig

    moe, x = SparseExperts(MixtralConfig(**EXPERTS)), torch.randn(4, 64, 32)
    with torch.inference_mode():
        exact = moe(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = moe(x)
    worst = (exact - half).norm(dim=-1) / exact.norm(dim=-1)
    assert float(worst.max()) < 0.05


@pytest.mark.parametrize("name", CAUSAL)
def test_nothing_after_a_token_changes_it(name: str) -> None:
    model = FAMILIES[name].tiny_model()
    assert model.spec.causal
    assert not model.spec.has_cls
    first, second = "ACGTACGATTAC" * 4, "ACGTACGATTAC" * 2 + "TTTTTTGGGGGG" * 2
    with torch.inference_mode():
        batch = model.encode([first, second])
        same = int((batch.ids[0] == batch.ids[1]).int().cumprod(0).sum())
        assert 1 < same < batch.ids.shape[1]
        for states in model.layers(batch):
            assert torch.equal(states[0, :same], states[1, :same])
        assert not torch.equal(states[0, same:], states[1, same:])


@pytest.mark.parametrize("name", ["generator-eukaryote-1.2b", "mistral-dna-17m"])
def test_published_models_say_what_they_can(name: str) -> None:
    spec = MODELS[name].spec
    assert (spec.objective, spec.causal, spec.has_cls) == ("clm", True, False)
    assert "cls" not in spec.poolings
    assert spec.default_pooling == "mean"
    assert not spec.scores_masked_bases
    assert spec.revision is None or len(spec.revision) in {40, 64}


def test_the_ids_of_generator_are_the_published_ones() -> None:
    """Ids that ``tokenizer.py`` beside the published weights gives for these strings."""
    batch = GeneratorTokenizer().encode(["ACGTNACGTNAC", "AAAAAATTTTTT", "AAAAAATTTTTTGG", "ATCGAA"])
    assert batch.ids.tolist() == [
        [BOS_ID, OOV_ID, OOV_ID, PAD_ID],
        [BOS_ID, 32, 1397, PAD_ID],
        [BOS_ID, 32, 1397, OOV_ID],
        [BOS_ID, 32 + 4**4 + 2 * 4**3 + 3 * 4**2, PAD_ID, PAD_ID],
    ]
    assert batch.spans[2].tolist() == [[0, 0], [0, 6], [6, 12], [12, 14]]
    assert batch.special_mask.tolist()[3] == [True, False, True, True]
    assert batch.attention_mask.tolist()[3] == [True, True, False, False]


@given(st.lists(st.text("ACGTN", min_size=1, max_size=2000), min_size=1, max_size=4))
def test_6_mers_spell_the_letters_they_span(sequences: list[str]) -> None:
    tokenizer = GeneratorTokenizer()
    assert len(tokenizer.strings) == 4128
    batch = tokenizer.encode(sequences)
    for sequence, ids, spans, special in zip(
        sequences, batch.ids, batch.spans, batch.special_mask, strict=True
    ):
        real = spans[~special].tolist()
        assert [start for start, _ in real] == [0, *(end for _, end in real[:-1])]
        assert real[-1][1] == len(sequence)
        for number, (start, end) in zip(ids[~special].tolist(), real, strict=True):
            piece = sequence[start:end]
            known = len(piece) == 6 and "N" not in piece
            assert tokenizer.strings[number] == (piece if known else "")
            assert (number >= len(SPECIALS)) == known


def test_a_piece_count_past_the_context_is_refused_though_its_length_is_not() -> None:
    model = FAMILIES["mistral-dna"].tiny_model()
    assert model.encode(["ACGT" * 200]).ids.shape[1] <= 512
    with pytest.raises(SequenceTooLongError, match="sequence 0: 602 tokens, and the context takes 512"):
        model.encode(["N" * 600])


def test_an_expert_that_is_missing_is_named(tmp_path: Path) -> None:
    from glmstore.errors import WeightsError

    network = MixtralDecoder(EXPERTS)
    state = {n: t.clone().contiguous() for n, t in network.state_dict().items()}
    del state["model.layers.1.block_sparse_moe.experts.3.w2.weight"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"missing model.layers.1.block_sparse_moe.experts.3.w2.weight"):
        load_strict(network, [tmp_path / "model.safetensors"], owner="toy")
