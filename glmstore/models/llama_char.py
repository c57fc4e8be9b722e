"""Any Llama over single letters, read from a folder: ``llama-char:FOLDER``.

The folder is one that transformers saved: ``config.json`` of a LlamaForCausalLM, its weights, and its
vocabulary as ``vocab.json``, ``tokenizer.json`` or ``vocab.txt``, in which A, C, G and T are tokens of one
letter. Nothing in it is run. A name without a path is looked for among the pulled models.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmstore.errors import UnknownNameError, WeightsError
from glmstore.models.base import DerivedModel, GenomicLM, ModelEntry
from glmstore.models.checkpoints.source import folder_of
from glmstore.models.checkpoints.vocabulary import check_vocabulary
from glmstore.models.family import Config, Family, published
from glmstore.models.spec import ModelSpec, Pretraining

if TYPE_CHECKING:
    from torch import nn

    from glmstore.models.tokenizers.base import Tokenizer

PREFIX = "llama-char"
SHAPE_KEYS = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "initializer_range"),
    *("rms_norm_eps", "rope_theta", "rope_scaling", "rope_parameters", "attention_bias", "mlp_bias"),
    *("tie_word_embeddings", "pad_token_id"),
)
"""Keys of ``config.json`` that the network is built from."""
REQUIRED = (*SHAPE_KEYS[:5], "max_position_embeddings")

UNKNOWN = ("<unk>", "[UNK]", "<oov>")
_UNDESCRIBED = Pretraining(
    complete=False,
    species=("Homo sapiens", "Mus musculus", "Drosophila melanogaster", "Escherichia coli"),
    assembly=None,
    chromosomes=None,
)
"""What the model of a folder has seen is not known: an overlap is possible with any benchmark of these."""


def _network(config: Config) -> nn.Module:
    from glmstore.models.architectures.decoder import LlamaDecoder

    return LlamaDecoder({key: config[key] for key in SHAPE_KEYS if key in config})


def _tokenizer(config: Config, _folder: Path | None) -> Tokenizer:
    from glmstore.models.tokenizers.character import CharacterTokenizer

    return CharacterTokenizer(
        config["vocabulary"],
        # Any id does: nothing real ever looks at padding. Old configurations say -1.
        pad_id=max(config.get("pad_token_id") or 0, 0),
        unknown_id=config["unknown_id"],
        prefix=config["prefix"],
    )


def _shape(config: Config) -> Config:
    return {
        "dim": config["hidden_size"],
        "n_layers": config["num_hidden_layers"],
        "max_nt": config["max_position_embeddings"] - len(config["prefix"]),
    }


FAMILY = Family(
    name=PREFIX,
    network=_network,
    tokenizer=_tokenizer,
    traits={
        "family": "Llama",
        "objective": "clm",
        "tokenization": "character",
        "causal": True,
        "lora_targets": ("q_proj", "v_proj"),
        "licence": "as its folder says",
        "citation": "Touvron et al. 2023, arXiv:2302.13971",
    },
    shape=_shape,
    tiny={
        "vocab_size": 8,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "pad_token_id": 0,
        "vocabulary": ["<pad>", "<s>", "</s>", "A", "C", "G", "T", "N"],
        "unknown_id": None,
        "prefix": [1],
    },
    source="huggingface/transformers 5.23, models/llama/modeling_llama.py",
    ignored=(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",),
)


def read_vocabulary(folder: Path) -> list[str]:
    """Return a folder's tokens by id; ids without a token are empty.

    Raises
    ------
    WeightsError
        If there is no vocabulary, or it does not spell the four bases by single letters.
    """
    ids = _vocabulary_file(folder)
    tokens = [""] * (1 + max(ids.values(), default=-1))
    for token, number in ids.items():
        tokens[number] = token
    missing = [base for base in "ACGT" if base not in ids and base.lower() not in ids]
    if missing:
        raise WeightsError(
            f"the vocabulary of {folder} has no token {', '.join(missing)}: it is no model of single letters."
        )
    return tokens


def _vocabulary_file(folder: Path) -> Mapping[str, int]:
    try:
        if (folder / "vocab.json").is_file():
            return _numbered(json.loads((folder / "vocab.json").read_text()))
        if (folder / "tokenizer.json").is_file():
            content = json.loads((folder / "tokenizer.json").read_text())
            added = {token["content"]: token["id"] for token in content.get("added_tokens", ())}
            return _numbered({**content["model"]["vocab"], **added})
        lines = (folder / "vocab.txt").read_text().splitlines()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{folder} holds no vocabulary that can be read ({error!r}).") from error
    return {token: number for number, token in enumerate(lines)}


def _numbered(found: Mapping[str, int]) -> Mapping[str, int]:
    wrong = [token for token, number in found.items() if not isinstance(number, int) or number < 0]
    if wrong:
        raise ValueError(f"the id of {wrong[0]!r} is {found[wrong[0]]!r}")
    return found


def read_config(folder: Path) -> dict[str, Any]:
    """Return what the family builds a network and a tokenizer from.

    Raises
    ------
    WeightsError
        If the folder holds no Llama, or its vocabulary is no set of letters.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
        kind = config["model_type"]
        shape = {key: config[key] for key in SHAPE_KEYS if key in config}
        options = folder / "tokenizer_config.json"
        begins = options.is_file() and bool(json.loads(options.read_text()).get("add_bos_token", False))
        prefix = [int(config["bos_token_id"])] if begins else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{folder} holds no configuration that can be read ({error!r}).") from error
    if kind != "llama":
        raise WeightsError(f"{folder} holds a model of type {kind!r}; {PREFIX} reads those of type 'llama'.")
    lacking = [key for key in REQUIRED if not isinstance(shape.get(key), int)]
    if lacking:
        raise WeightsError(f"{folder}/config.json does not say its {lacking[0]}, a whole number.")
    if shape["hidden_size"] % shape["num_attention_heads"]:
        raise WeightsError(
            f"{folder}/config.json: {shape['num_attention_heads']} heads do not divide a width of "
            f"{shape['hidden_size']}."
        )
    vocabulary = read_vocabulary(folder)
    unknown = next((vocabulary.index(token) for token in UNKNOWN if token in vocabulary), None)
    return {
        **shape,
        "vocabulary": vocabulary,
        "unknown_id": 0 if unknown is None else unknown,
        "prefix": prefix,
    }


def _weight_files(folder: Path) -> list[Path]:
    for pattern in ("*.safetensors", "pytorch_model*.bin"):
        files = sorted(folder.glob(pattern))
        if files:
            return files
    raise WeightsError(f"{folder} holds no weights: neither *.safetensors nor pytorch_model*.bin.")


def _sha256(files: Sequence[Path]) -> str:
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def build(argument: str) -> ModelEntry:
    """Return the entry of the checkpoint in a folder, pinned by its weights, configuration and vocabulary.

    Its revision is a sha256 over all three: they are files that can be changed one without the other.

    Raises
    ------
    UnknownNameError
        If there is no such folder.
    WeightsError
        If the folder holds no character-level Llama.
    """
    folder = Path(argument) if Path(argument).is_dir() else folder_of(argument)
    if not argument or not folder.is_dir():
        shelf = folder_of("x").parent
        known = [f"{PREFIX}:{p.name}" for p in shelf.iterdir() if p.is_dir()] if shelf.is_dir() else []
        raise UnknownNameError("model", f"{PREFIX}:{argument}", known, "A folder's path does as well.")
    config, files = read_config(folder), _weight_files(folder)
    sha256 = _sha256(files)
    spec = FAMILY.describe(
        config,
        name=f"{PREFIX}:{argument}",
        summary=f"A character-level Llama from the folder {folder.name}.",
        revision=hashlib.sha256(f"{sha256}\n{FAMILY.recipe(config)}".encode()).hexdigest(),
        weights_sha256=sha256,
        tokenizer_sha256=hashlib.sha256("\n".join(config["vocabulary"]).encode()).hexdigest(),
        n_parameters=_n_parameters(config),
        pretraining=_UNDESCRIBED,
    )
    untrained = published(FAMILY, spec, config).untrained
    return ModelEntry(spec, partial(_load, spec, config, files), untrained)


def _n_parameters(config: Config) -> int:
    import torch

    with torch.device("meta"):
        return sum(p.numel() for p in _network(config).parameters())


def _load(spec: ModelSpec, config: Config, files: Sequence[Path], device: str) -> GenomicLM:
    from glmstore.models.architectures.language_model import LanguageModel
    from glmstore.models.checkpoints.loading import build_unfilled, load_strict

    network = build_unfilled(partial(_network, config))
    load_strict(network, files, owner=spec.name, ignored=FAMILY.ignored)
    model = LanguageModel(spec, network, _tokenizer(config, None), device)
    check_vocabulary(model)
    return model


LLAMA_CHAR = DerivedModel(PREFIX, f"{PREFIX}:<folder>", build)
