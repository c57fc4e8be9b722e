"""GENERator: Llama over 6-mers, trained left to right on the genes of all eukaryotes.

Wu et al. 2025, arXiv:2502.07272. The hub repositories name a class of their own (``GENERatorForCausalLM``), a
LlamaForCausalLM that adds ways of generating; names and arithmetic are Llama's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from glmstore.models.base import ModelEntry
from glmstore.models.checkpoints.source import HubSource
from glmstore.models.family import Config, Family, published
from glmstore.models.spec import Pretraining
from glmstore.models.tokenizers.generator import K as LETTERS_A_TOKEN
from glmstore.models.tokenizers.generator import vocabulary_sha256 as _vocabulary_sha256

if TYPE_CHECKING:
    from torch import nn

    from glmstore.models.tokenizers.base import Tokenizer


def _network(config: Config) -> nn.Module:
    from glmstore.models.architectures.decoder import LlamaDecoder

    return LlamaDecoder(config)


def _tokenizer(_config: Config, _folder: Path | None) -> Tokenizer:
    from glmstore.models.tokenizers.generator import GeneratorTokenizer

    return GeneratorTokenizer()


def _shape(config: Config) -> Config:
    room = config["max_position_embeddings"] - 1
    return {
        "dim": config["hidden_size"],
        "n_layers": config["num_hidden_layers"],
        "max_nt": room * LETTERS_A_TOKEN,
    }


_COMMON = {
    "vocab_size": 4128,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "max_position_embeddings": 16_384,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500_000.0,
}

FAMILY = Family(
    name="generator",
    network=_network,
    tokenizer=_tokenizer,
    traits={
        "family": "GENERator",
        "objective": "clm",
        "tokenization": "6-mer",
        "tokenizer_sha256": _vocabulary_sha256(),
        "causal": True,
        "lora_targets": ("q_proj", "v_proj"),
        "licence": "MIT",
        "citation": "Wu et al. 2025, arXiv:2502.07272",
    },
    shape=_shape,
    tiny={
        **_COMMON,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
    },
    source=(
        "GenerTeam/GENERator-eukaryote-1.2b-base, config.json at 5e872c9, and tokenizer.py; "
        "huggingface/transformers 5.23, models/llama/modeling_llama.py"
    ),
)


def _published(
    size: str, summary: str, n_parameters: int, shape: Config, weights: tuple[str, ...]
) -> ModelEntry:
    config = {**_COMMON, **shape}
    hub_id = f"GenerTeam/GENERator-eukaryote-{size}-base"
    spec = FAMILY.describe(
        config,
        name=f"generator-eukaryote-{size}",
        summary=summary,
        hub_id=hub_id,
        revision=None,
        n_parameters=n_parameters,
        # All of RefSeq's eukaryotes; what benchmarks are drawn from is named, for the overlap flag.
        pretraining=Pretraining(
            complete=False,
            species=(
                *("Homo sapiens", "Mus musculus", "Danio rerio", "Drosophila melanogaster"),
                *("Caenorhabditis elegans", "Saccharomyces cerevisiae", "Arabidopsis thaliana"),
            ),
            assembly=None,
            chromosomes=None,
        ),
    )
    return published(FAMILY, spec, config, HubSource(repo=hub_id, weights=weights))


GENERATOR_MODELS = (
    _published(
        "1.2b",
        "GENERator of 1.2 billion weights, 386 billion nucleotides of eukaryotic genes.",
        1_162_061_824,
        {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 26},
        ("model.safetensors",),
    ),
    _published(
        "3b",
        "GENERator of 3 billion weights, 386 billion nucleotides of eukaryotic genes.",
        2_998_262_784,
        {"hidden_size": 3072, "intermediate_size": 8448, "num_hidden_layers": 30},
        tuple(f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)),
    ),
)
