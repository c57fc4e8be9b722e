"""Character-level Llamas read from a folder."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from glmstore.errors import UnknownNameError, WeightsError
from glmstore.models import get_model
from glmstore.models.architectures.decoder import LlamaDecoder

TOKENS = ["[PAD]", "[BOS]", "[UNK]", "a", "c", "g", "t"]
SHAPE: dict[str, Any] = {
    "vocab_size": 8,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
    "rope_theta": 10_000.0,
    "pad_token_id": 0,
    "initializer_range": 0.2,
}


def folder_at(
    path: Path, *, tokens: list[str] = TOKENS, without: tuple[str, ...] = (), **changes: Any
) -> Path:
    path.mkdir(exist_ok=True)
    torch.manual_seed(0)
    network = LlamaDecoder({**SHAPE, **{k: v for k, v in changes.items() if k != "model_type"}})
    state = {n: t.clone().contiguous() for n, t in network.state_dict().items() if n not in without}
    save_file(state, path / "model.safetensors")
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "bos_token_id": 1,
        **SHAPE,
        **changes,
    }
    (path / "config.json").write_text(json.dumps(config))
    (path / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    return path


def test_a_folder_is_a_model_of_its_weights(tmp_path: Path) -> None:
    folder = folder_at(tmp_path / "mine")
    (folder / "tokenizer_config.json").write_text('{"add_bos_token": true}')
    entry = get_model(f"llama-char:{folder}")
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert entry.spec.weights_sha256 == digest
    assert (entry.spec.dim, entry.spec.n_layers, entry.spec.max_nt) == (16, 2, 31)
    model: Any = entry.load("cpu")
    batch = model.encode(["ACGTN", "GA"])
    assert batch.ids.tolist() == [[1, 3, 4, 5, 6, 2], [1, 5, 3, 0, 0, 0]]
    torch.manual_seed(0)
    expected = list(LlamaDecoder(SHAPE).eval().states(batch.ids))
    for a, b in zip(model.layers(batch), expected, strict=True):
        torch.testing.assert_close(a, b)
    assert entry.spec.n_parameters == sum(p.numel() for p in model.network.parameters())


def test_another_vocabulary_or_configuration_of_the_same_weights_is_another_revision(tmp_path: Path) -> None:
    folder = folder_at(tmp_path / "mine")

    def revision() -> str | None:
        return get_model(f"llama-char:{folder}").spec.revision

    found = [revision()]
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate([*TOKENS[:3], *"tgca"])}))
    found.append(revision())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rope_theta": 500.0}))
    found.append(revision())
    (folder / "tokenizer_config.json").write_text('{"add_bos_token": true}')
    found.append(revision())
    assert len(set(found)) == 4
    (folder / "config.json").write_text(json.dumps(config | {"rope_theta": 500.0, "architectures": []}))
    assert revision() == found[-1]


def test_a_name_is_looked_for_among_the_pulled_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_at(tmp_path / "mine")
    monkeypatch.setenv("GLMSTORE_MODELS", str(tmp_path))
    assert get_model("llama-char:mine").spec.name == "llama-char:mine"
    assert get_model("rand_init:llama-char:mine:0").load("cpu").spec.twin_of == "llama-char:mine"
    with pytest.raises(UnknownNameError, match="llama-char:mine"):
        get_model("llama-char:mina")


def test_a_tied_head_may_be_left_out_of_the_file(tmp_path: Path) -> None:
    folder = folder_at(tmp_path / "tied", without=("lm_head.weight",), tie_word_embeddings=True)
    model: Any = get_model(f"llama-char:{folder}").load("cpu")
    assert model.network.lm_head.weight.data_ptr() == model.network.model.embed_tokens.weight.data_ptr()


def test_a_configuration_of_long_ago_is_read(tmp_path: Path) -> None:
    folder = folder_at(tmp_path / "old", pad_token_id=-1, rope_scaling=None, num_key_value_heads=1)
    model: Any = get_model(f"llama-char:{folder}").load("cpu")
    assert model.encode(["AC", "A"]).ids.tolist() == [[3, 4], [3, 0]]
    assert model.network.model.layers[0].self_attn.k_proj.weight.shape == (8, 16)
    torch.testing.assert_close(
        model.network.model.rotary_emb.inv_freq, torch.tensor([10_000.0 ** (-i / 8) for i in (0, 2, 4, 6)])
    )


@pytest.mark.parametrize("form", ["tokenizer.json", "vocab.txt"])
def test_other_forms_of_a_vocabulary_are_read(form: str, tmp_path: Path) -> None:
    folder = folder_at(tmp_path / "other")
    plain = get_model(f"llama-char:{folder}").spec.tokenizer_sha256
    (folder / "vocab.json").unlink()
    text = "\n".join(TOKENS)
    if form == "tokenizer.json":
        words = {token: i for i, token in enumerate(TOKENS) if i > 2}
        added = [{"content": token, "id": i} for i, token in enumerate(TOKENS[:3])]
        text = json.dumps({"model": {"vocab": words}, "added_tokens": added})
    (folder / form).write_text(text)
    assert get_model(f"llama-char:{folder}").spec.tokenizer_sha256 == plain


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"model_type": "gpt2"}, "of type 'gpt2'"),
        ({"tokens": ["ACG", "TTT", "A", "C", "G"]}, "no token T: it is no model of single letters"),
    ],
)
def test_what_is_no_character_level_llama_is_refused(
    spoil: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=message):
        get_model(f"llama-char:{folder_at(tmp_path / 'bad', **spoil)}")


def test_of_both_cases_the_upper_one_is_read(tmp_path: Path) -> None:
    tokens = ["[PAD]", "a", "c", "A", "C", "G", "T"]
    model = get_model(f"llama-char:{folder_at(tmp_path / 'both', tokens=tokens)}").load("cpu")
    assert model.encode(["ACGT"]).ids[0].tolist() == [3, 4, 5, 6]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", [1], "no configuration"),
        ("config.json", {"model_type": "llama"}, "does not say its vocab_size"),
        ("config.json", {"model_type": "llama", **SHAPE, "num_attention_heads": 3}, "3 heads do not divide"),
        ("vocab.json", ["A", "C"], "no vocabulary"),
        ("vocab.json", {"A": "1", "C": 2}, "the id of 'A' is '1'"),
        ("vocab.json", {"A": 1, "C": -2}, "the id of 'C' is -2"),
    ],
)
def test_a_file_of_another_form_is_refused_by_name(
    file: str, content: object, message: str, tmp_path: Path
) -> None:
    folder = folder_at(tmp_path / "odd")
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=message):
        get_model(f"llama-char:{folder}")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", "no configuration"),
        ("vocab.json", "no vocabulary"),
        ("model.safetensors", "no weights"),
    ],
)
def test_a_folder_that_lacks_a_file_says_which(missing: str, message: str, tmp_path: Path) -> None:
    folder = folder_at(tmp_path / "short")
    (folder / missing).unlink()
    with pytest.raises(WeightsError, match=message):
        get_model(f"llama-char:{folder}")


def test_a_vocabulary_larger_than_the_embedding_is_refused(tmp_path: Path) -> None:
    folder = folder_at(tmp_path / "wide", tokens=[*TOKENS, "n", "x", "y"])
    with pytest.raises(WeightsError, match="10 ids and its embedding 8 rows"):
        get_model(f"llama-char:{folder}").load("cpu")
