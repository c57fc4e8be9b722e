"""Mistral-DNA: small Mixtrals over byte-pair pieces of the human genome, trained left to right.

Mourad, https://github.com/raphaelmourad/Mistral-DNA. Despite the name all of them are mixtures of experts
(MixtralForCausalLM), in which every token passes through one or two of its block's experts. The tokenizer is
DNABERT-2's: pieces between ``[CLS]`` and ``[SEP]``, and each N an ``[UNK]``. ``[CLS]`` stands before
everything and so has seen nothing; it is there for the first piece to be predicted from, and no feature.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmstore.models.base import ModelEntry
from glmstore.models.checkpoints.source import HubSource
from glmstore.models.family import Config, Family, published
from glmstore.models.spec import Pretraining

if TYPE_CHECKING:
    from torch import nn

    from glmstore.models.tokenizers.base import Tokenizer

NT_A_TOKEN = 4
"""Nucleotides that a token of the context is counted for: fewer than a piece has on average, so that a
sequence of the greatest length fits, but for Ns. The tokenizer counts, and refuses what does not fit."""


def _network(config: Config) -> nn.Module:
    from glmstore.models.architectures.decoder import MixtralDecoder

    return MixtralDecoder(config)


def _tokenizer(config: Config, folder: Path | None) -> Tokenizer:
    from glmstore.models.tokenizers.bpe import BPETokenizer

    return BPETokenizer.from_folder(folder, max_tokens=config["max_position_embeddings"])


def _tiny_tokenizer() -> Tokenizer:
    from glmstore.models.tokenizers.bpe import BPETokenizer
    from glmstore.models.tokenizers.tiny_bpe import tiny_bpe_json

    return BPETokenizer(tiny_bpe_json(), max_tokens=_TINY["max_position_embeddings"])


def _shape(config: Config) -> Config:
    room = config["max_position_embeddings"] - 2
    return {
        "dim": config["hidden_size"],
        "n_layers": config["num_hidden_layers"],
        "max_nt": room * NT_A_TOKEN,
    }


_COMMON: dict[str, Any] = {
    "vocab_size": 4096,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "num_local_experts": 8,
    "num_experts_per_tok": 1,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1_000_000.0,
}
_TINY: dict[str, Any] = {
    **_COMMON,
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "initializer_range": 0.2,
}

FAMILY = Family(
    name="mistral-dna",
    network=_network,
    tokenizer=_tokenizer,
    tiny_tokenizer=_tiny_tokenizer,
    traits={
        "family": "Mistral-DNA",
        "objective": "clm",
        "tokenization": "bpe",
        "causal": True,
        "lora_targets": ("q_proj", "v_proj"),
        "licence": "Apache-2.0",
        "citation": "Mourad 2024, https://github.com/raphaelmourad/Mistral-DNA",
    },
    shape=_shape,
    tiny=_TINY,
    source=(
        "RaphaelMourad/Mistral-DNA-v1-*-hg38, config.json; "
        "huggingface/transformers 5.23, models/mixtral/modeling_mixtral.py and conversion_mapping.py"
    ),
)


def _published(size: str, n_parameters: int, **shape: int) -> ModelEntry:
    config = {**_COMMON, **shape}
    hub_id = f"RaphaelMourad/Mistral-DNA-v1-{size}-hg38"
    spec = FAMILY.describe(
        config,
        name=f"mistral-dna-{size.lower()}",
        summary=f"Mistral-DNA of {size} weights, {config['num_local_experts']} experts a block; human.",
        hub_id=hub_id,
        revision=None,
        n_parameters=n_parameters,
        pretraining=Pretraining(species=("Homo sapiens",), assembly="GRCh38", chromosomes=None),
    )
    return published(FAMILY, spec, config, HubSource(repo=hub_id, tokenizer=("tokenizer.json",)))


MISTRAL_DNA_MODELS = (
    _published(
        "1M", 985_664, hidden_size=64, intermediate_size=64, num_hidden_layers=4, max_position_embeddings=256
    ),
    _published("17M", 16_797_952, hidden_size=256, intermediate_size=256),
    _published("138M", 138_474_240, hidden_size=768, intermediate_size=768),
    _published("422M", 421_589_760, hidden_size=768, intermediate_size=2688),
    _published(
        "1.6B",
        1_610_822_400,
        hidden_size=768,
        intermediate_size=2688,
        num_local_experts=32,
        num_experts_per_tok=2,
    ),
)
