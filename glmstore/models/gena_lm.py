"""GENA-LM: pre-norm BERT over byte-pair pieces of the complete human genome.

Fishman et al. 2025, Nucleic Acids Res. 53(2): gkae1310. Pieces are of several letters and change with the
sequence around a letter, so no single letter can be hidden and asked for. The ``t2t`` vocabulary reads N as a
letter and ten or more of them as one ``-``; the first one has no N, and each is ``[UNK]``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmstore.models.base import ModelEntry
from glmstore.models.bert_base import BERT_BASE
from glmstore.models.checkpoints.source import HubSource
from glmstore.models.dnabert import POOLER_AND_BUFFERS
from glmstore.models.family import Config, Family, published
from glmstore.models.spec import Pretraining

if TYPE_CHECKING:
    from torch import nn

    from glmstore.models.tokenizers.base import Tokenizer

MAX_NT = 2_500
"""What fits into 512 tokens whatever the letters, but for Ns: random sequence takes a token for about six
letters, human DNA one for nine, so 4,500 nt of that would fit. It is also the width of the windows that
longer sequences are read through; the tokenizer counts, and refuses what does not fit."""


def _network(config: Config) -> nn.Module:
    from glmstore.models.architectures.pre_ln_bert import PreLNBert

    return PreLNBert(config)


def _tokenizer(config: Config, folder: Path | None) -> Tokenizer:
    from glmstore.models.tokenizers.bpe import BPETokenizer

    return BPETokenizer.from_folder(folder, max_tokens=config["max_position_embeddings"])


def _tiny_tokenizer() -> Tokenizer:
    from glmstore.models.tokenizers.bpe import BPETokenizer
    from glmstore.models.tokenizers.tiny_bpe import tiny_bpe_json

    return BPETokenizer(tiny_bpe_json(reads_n=True), max_tokens=_TINY["max_position_embeddings"])


def _shape(config: Config) -> dict[str, Any]:
    return {"dim": config["hidden_size"], "n_layers": config["num_hidden_layers"], "max_nt": MAX_NT}


_BASE: dict[str, Any] = {
    **BERT_BASE,
    "vocab_size": 32_000,
    "pad_token_id": 3,
    "pre_layer_norm": True,
    "last_layer_norm": False,
}
# The large model's config.json leaves last_layer_norm out: it then follows pre_layer_norm.
_LARGE: dict[str, Any] = {
    **_BASE,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "layer_norm_eps": 1e-5,
    "last_layer_norm": True,
}
_TINY: dict[str, Any] = {
    **_BASE,
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "initializer_range": 0.2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "last_layer_norm": True,
}

# From the vocabularies of the source, both of 32,000 pieces: data/tokenizers/human/BPE_32k/tokenizer.json at
# db11b75, which its scripts use for the models of the first release, and t2t_1000h_multi_32k at 203841e.
_FIRST_PIECES: dict[str, int | None] = {"ACG": 114, "N": None}
_T2T_PIECES: dict[str, int | None] = {"ACG": 120, "N": 12}

FAMILY = Family(
    name="gena_lm",
    network=_network,
    tokenizer=_tokenizer,
    tiny_tokenizer=_tiny_tokenizer,
    traits={
        "family": "GENA-LM",
        "objective": "mlm",
        "tokenization": "bpe",
        "has_cls": True,
        "poolings": ("mean", "max", "tokens", "cls"),
        "lora_targets": ("query", "value"),
        "licence": "MIT",
        "citation": "Fishman et al. 2025, Nucleic Acids Res. 53(2): gkae1310",
    },
    shape=_shape,
    tiny=_TINY,
    source="AIRI-Institute/GENA_LM, src/gena_lm/modeling_bert.py at 011b95d",
    ignored=(*POOLER_AND_BUFFERS, r"cls\.seq_relationship\..*"),
)


def _all_but(*held_out: str) -> tuple[str, ...]:
    return tuple(c for c in (f"chr{n}" for n in [*range(1, 23), "X", "Y"]) if c not in held_out)


def _entry(
    name: str,
    summary: str,
    config: Config,
    *,
    weights: str,
    n_parameters: int,
    held_out: tuple[str, str],
    pieces: dict[str, int | None],
) -> ModelEntry:
    hub_id = f"AIRI-Institute/{name}"
    return published(
        FAMILY,
        FAMILY.describe(
            config,
            name=name,
            summary=summary,
            hub_id=hub_id,
            revision=None,
            n_parameters=n_parameters,
            pretraining=Pretraining(
                species=("Homo sapiens",), assembly="T2T-CHM13v2.0", chromosomes=_all_but(*held_out)
            ),
        ),
        config,
        HubSource(repo=hub_id, weights=(weights,), tokenizer=("tokenizer.json",), pieces=pieces),
    )


GENA_LM_MODELS = (
    _entry(
        "gena-lm-bert-base",
        "GENA-LM, 12 layers, the first release: the human T2T assembly.",
        _BASE,
        weights="pytorch_model.bin",
        n_parameters=110_650_880,
        held_out=("chr22", "chrY"),
        pieces=_FIRST_PIECES,
    ),
    _entry(
        "gena-lm-bert-base-t2t",
        "GENA-LM, 12 layers: the human T2T assembly with variants of the 1000 Genomes.",
        _BASE,
        weights="pytorch_model.bin",
        n_parameters=110_650_880,
        held_out=("chr7", "chr10"),
        pieces=_T2T_PIECES,
    ),
    _entry(
        "gena-lm-bert-large-t2t",
        "GENA-LM, 24 layers: the human T2T assembly with variants of the 1000 Genomes.",
        _LARGE,
        weights="model.safetensors",
        n_parameters=336_691_456,
        held_out=("chr7", "chr10"),
        pieces=_T2T_PIECES,
    ),
)
