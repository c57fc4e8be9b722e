"""Nucleotide Transformer, first and second generation: ESM over 6-mers, masked-language pretrained.

Dalla-Torre et al. 2025, Nature Methods 22: 287-297. The first generation has learned positions and 1,000
tokens of context; the second has rotary positions, gated feed-forward layers without biases, and 2,048
tokens. Published under InstaDeepAI/nucleotide-transformer-… on the Hugging Face hub, for non-commercial
use.

In the configurations, keys and values are those of the published ``config.json``; ``token_dropout`` of the
first generation scales every embedding by the share of tokens that were not masked, at inference too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmstore.models.base import ModelEntry
from glmstore.models.checkpoints.source import HubSource
from glmstore.models.family import Config, Family, published
from glmstore.models.spec import Pretraining
from glmstore.models.tokenizers.sixmer import (
    V1_VOCABULARY,
    V2_VOCABULARY,
    SixMerTokenizer,
    safe_length,
    vocabulary_sha256,
)

if TYPE_CHECKING:
    from torch import nn

    from glmstore.models.tokenizers.base import Tokenizer


def _network(config: Config) -> nn.Module:
    from glmstore.models.architectures.esm import EsmNetwork

    return EsmNetwork(config)


def _rotary_network(config: Config) -> nn.Module:
    from glmstore.models.architectures.esm_rotary import RotaryEsm

    return RotaryEsm(config)


def _context(config: Config) -> int:
    """Return the longest input in tokens; positions are counted from the one after the padding id."""
    tokens: int = config["max_position_embeddings"] - config["pad_token_id"] - 1
    return tokens


def _tokenizer(config: Config, _folder: Path | None) -> Tokenizer:
    return SixMerTokenizer(V1_VOCABULARY, n_ids=config["vocab_size"], max_tokens=_context(config))


def _rotary_tokenizer(config: Config, _folder: Path | None) -> Tokenizer:
    return SixMerTokenizer(V2_VOCABULARY, n_ids=config["vocab_size"], max_tokens=_context(config))


def _shape(config: Config) -> Config:
    return {
        "dim": config["hidden_size"],
        "n_layers": config["num_hidden_layers"],
        "max_nt": safe_length(_context(config)),
    }


def _config(layers: int, width: int, heads: int, inner: int, **generation: Any) -> Config:
    return {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "emb_layer_norm_before": False,
        "layer_norm_eps": 1e-12,
        "initializer_range": 0.02,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "pad_token_id": 1,
        "mask_token_id": 2,
        "tie_word_embeddings": False,
        **generation,
    }


_V1 = {
    "vocab_size": 4105,
    "max_position_embeddings": 1002,
    "position_embedding_type": "absolute",
    "token_dropout": True,
}
_V2 = {
    "vocab_size": 4107,
    "max_position_embeddings": 2050,
    "position_embedding_type": "rotary",
    "token_dropout": False,
    "add_bias_fnn": False,
}
_TRAITS = {
    "objective": "mlm",
    "tokenization": "6-mer",
    "lora_targets": ("query", "value"),
    "has_cls": True,
    "poolings": ("mean", "max", "cls", "tokens"),
    "scores_masked_bases": True,
    "licence": "CC-BY-NC-SA-4.0",
    "citation": "Dalla-Torre et al. 2025, Nature Methods 22: 287-297",
}
_LEFT_OUT = (r"esm\.contact_head\.regression\.(weight|bias)", r"esm\.embeddings\.position_ids")

FAMILY = Family(
    name="nucleotide-transformer",
    network=_network,
    tokenizer=_tokenizer,
    traits={
        "family": "Nucleotide Transformer",
        "tokenizer_sha256": vocabulary_sha256(V1_VOCABULARY),
        **_TRAITS,
    },
    shape=_shape,
    tiny=_config(3, 16, 2, 32, **{**_V1, "max_position_embeddings": 130}),
    source="EsmForMaskedLM of transformers; instadeepai/nucleotide-transformer, model.py at 1ee5f97",
    ignored=_LEFT_OUT,
)

ROTARY_FAMILY = Family(
    name="nucleotide-transformer-v2",
    network=_rotary_network,
    tokenizer=_rotary_tokenizer,
    traits={
        "family": "Nucleotide Transformer v2",
        "tokenizer_sha256": vocabulary_sha256(V2_VOCABULARY),
        **_TRAITS,
    },
    shape=_shape,
    tiny=_config(3, 16, 2, 32, **{**_V2, "max_position_embeddings": 130}),
    source="modeling_esm.py of the hub, as in terry-r123/Cross-MolecularBenchmark at ce0ae52; "
    "instadeepai/nucleotide-transformer, layers.py at dd256f1",
    # Absolute positions are published and never read; the angles are computed.
    ignored=(
        *_LEFT_OUT,
        r"esm\.embeddings\.position_embeddings\.weight",
        r"esm\.encoder\.layer\.\d+\.attention\.self\.rotary_embeddings\.inv_freq",
    ),
)

_HUMAN = Pretraining(species=("Homo sapiens",), assembly="GRCh38", chromosomes=None)
# 850 species: bacteria, fungi, protozoa and animals, no plants and no viruses. The description of the corpus
# names none and says that much-studied genomes are among them; those that benchmarks are made of are named
# here, so that overlap is flagged.
_MANY = Pretraining(
    complete=False,
    species=("Homo sapiens", "Mus musculus", "Drosophila melanogaster", "Escherichia coli"),
    assembly=None,
    chromosomes=None,
)
_REFERENCE = (_HUMAN, "the human reference genome")
_1000_GENOMES = (_HUMAN, "3,202 human genomes of the 1000 Genomes Project")
_850_SPECIES = (_MANY, "the genomes of 850 species")

_SAFETENSORS = ("model.safetensors",)
_PICKLE = ("pytorch_model.bin",)
_SHARDS = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")


def _entry(
    family: Family,
    name: str,
    repo: str,
    config: Config,
    n_parameters: int,
    corpus: tuple[Pretraining, str],
    weights: tuple[str, ...],
) -> ModelEntry:
    hub_id = f"InstaDeepAI/nucleotide-transformer-{repo}"
    spec = family.describe(
        config,
        name=name,
        summary=f"{n_parameters / 1e6:,.0f}M parameters, pretrained on {corpus[1]}.",
        hub_id=hub_id,
        revision=None,
        n_parameters=n_parameters,
        pretraining=corpus[0],
    )
    return published(family, spec, config, HubSource(repo=hub_id, weights=weights))


_500M = (_config(24, 1280, 20, 5120, **_V1), 485_698_825)
_2B5 = (_config(32, 2560, 20, 10240, **_V1), 2_547_800_585)

NUCLEOTIDE_TRANSFORMERS = tuple(
    _entry(FAMILY, f"nt-{name}", name, *shape, corpus, weights)
    for name, shape, corpus, weights in (
        ("500m-human-ref", _500M, _REFERENCE, _PICKLE),
        ("500m-1000g", _500M, _1000_GENOMES, _PICKLE),
        ("2.5b-1000g", _2B5, _1000_GENOMES, _SHARDS),
        ("2.5b-multi-species", _2B5, _850_SPECIES, _SHARDS),
    )
)

ROTARY_NUCLEOTIDE_TRANSFORMERS = tuple(
    _entry(ROTARY_FAMILY, f"nt-{name}", f"{name}-multi-species", config, n, _850_SPECIES, weights)
    for name, config, n, weights in (
        ("v2-50m", _config(12, 512, 16, 2048, **_V2), 54_855_179, _SAFETENSORS),
        ("v2-100m", _config(22, 512, 16, 2048, **_V2), 96_839_179, _SAFETENSORS),
        ("v2-250m", _config(24, 768, 16, 3072, **_V2), 233_545_995, _PICKLE),
        ("v2-500m", _config(29, 1024, 16, 4096, **_V2), 496_245_771, _SAFETENSORS),
    )
)
