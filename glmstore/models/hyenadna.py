"""HyenaDNA: causal long convolutions over single nucleotides, up to a million of them.

Nguyen et al. 2023, NeurIPS 36 (arXiv:2306.15794). The published tokenizer of the ``-hf`` checkpoints appends
[SEP] and puts nothing in front, which is also what the pretraining did. The stand-alone tokenizer of the
first release puts [CLS] in front as well (Tang et al. 2025 have 402 vectors for 400 nt). Both pad on the
left, where a causal network sees the padding; here padding is on the right, where it does not.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmstore.models.base import ModelEntry
from glmstore.models.checkpoints.source import HubSource
from glmstore.models.family import Config, Family, published
from glmstore.models.spec import Pretraining

if TYPE_CHECKING:
    from torch import nn

    from glmstore.models.tokenizers.base import Tokenizer

VOCABULARY = (
    *("[CLS]", "[SEP]", "[BOS]", "[MASK]", "[PAD]", "[RESERVED]", "[UNK]"),
    *("A", "C", "G", "T", "N"),
)
VOCABULARY_SHA256 = hashlib.sha256("\n".join(VOCABULARY).encode()).hexdigest()
SEP_ID, PAD_ID = 1, 4
SPECIALS = 2
"""Positions of the context beyond the letters: the pretraining left room for two special tokens."""


def _network(config: Config) -> nn.Module:
    from glmstore.models.architectures.hyena import HyenaDNAForCausalLM

    return HyenaDNAForCausalLM(config)


def _tokenizer(_config: Config, _folder: Path | None) -> Tokenizer:
    from glmstore.models.tokenizers.character import CharacterTokenizer

    return CharacterTokenizer(VOCABULARY, pad_id=PAD_ID, suffix=(SEP_ID,))


def _shape(config: Config) -> Config:
    return {
        "dim": config["d_model"],
        "n_layers": config["n_layer"],
        "max_nt": config["max_seq_len"] - SPECIALS,
    }


def _config(d_model: int, n_layer: int, max_seq_len: int) -> dict[str, Any]:
    """Return the published ``config.json``, as far as it describes the network."""
    return {
        "d_model": d_model,
        "n_layer": n_layer,
        "d_inner": 4 * d_model,
        "max_seq_len": max_seq_len,
        "vocab_size": len(VOCABULARY),
        "pad_vocab_size_multiple": 8,
        "hyena_order": 2,
        "short_filter_order": 3,
        "filter_order": 64,
        "num_inner_mlps": 2,
        "emb_dim": 5,
        "activation_freq": 10,
        "layer_norm_epsilon": 1e-5,
        "initializer_range": 0.02,
    }


FAMILY = Family(
    name="hyenadna",
    network=_network,
    tokenizer=_tokenizer,
    traits={
        "family": "HyenaDNA",
        "objective": "clm",
        "tokenization": "character",
        "tokenizer_sha256": VOCABULARY_SHA256,
        "causal": True,
        "lora_targets": ("in_proj", "out_proj"),
        "licence": "BSD-3-Clause",
        "citation": "Nguyen et al. 2023, HyenaDNA, NeurIPS 36 (arXiv:2306.15794)",
    },
    shape=_shape,
    tiny={**_config(16, 2, 130), "filter_order": 8},
    source="LongSafari/hyenadna-*-hf, modeling_hyena.py; HazyResearch/hyena-dna at 372625a",
)


def _model(name: str, repository: str, config: Config, n_parameters: int) -> ModelEntry:
    repo, context = f"LongSafari/{repository}", config["max_seq_len"] - SPECIALS
    return published(
        FAMILY,
        FAMILY.describe(
            config,
            name=name,
            summary=f"Causal; {config['n_layer']} layers of width {config['d_model']}, {context:,} nt.",
            hub_id=repo,
            revision=None,
            n_parameters=n_parameters,
            # The training intervals of Basenji's human split, which follows no chromosomes.
            pretraining=Pretraining(species=("Homo sapiens",), assembly="GRCh38", chromosomes=None),
        ),
        config,
        HubSource(repo=repo),
    )


HYENADNA_MODELS = (
    _model("hyenadna-tiny-1k", "hyenadna-tiny-1k-seqlen-hf", _config(128, 2, 1_026), 438_144),
    _model("hyenadna-tiny-1k-d256", "hyenadna-tiny-1k-seqlen-d256-hf", _config(256, 2, 1_026), 1_645_184),
    _model("hyenadna-tiny-16k-d128", "hyenadna-tiny-16k-seqlen-d128-hf", _config(128, 2, 16_386), 438_144),
    _model("hyenadna-small-32k", "hyenadna-small-32k-seqlen-hf", _config(256, 4, 32_770), 3_281_664),
    _model("hyenadna-medium-160k", "hyenadna-medium-160k-seqlen-hf", _config(256, 8, 160_002), 6_554_624),
    _model("hyenadna-medium-450k", "hyenadna-medium-450k-seqlen-hf", _config(256, 8, 450_002), 6_554_624),
    _model("hyenadna-large-1m", "hyenadna-large-1m-seqlen-hf", _config(256, 8, 1_000_002), 6_554_624),
)
