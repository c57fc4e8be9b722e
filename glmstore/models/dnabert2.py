"""DNABERT-2: an ALiBi BERT over byte-pair pieces of 135 genomes and the human one.

Zhou et al. 2024, ICLR. Pieces are of several letters and change with the sequence around a letter, so no
single letter can be hidden and asked for. The vocabulary has no N: each is ``[UNK]``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmstore.models.checkpoints.source import HubSource
from glmstore.models.family import Config, Family, published
from glmstore.models.spec import Pretraining

if TYPE_CHECKING:
    from torch import nn

    from glmstore.models.tokenizers.base import Tokenizer

MAX_NT = 10_000
"""The network has no limit of its own; its authors fine-tuned it on sequences up to this long. A batch of one
at this length holds biases of [12, T, T], T being about 2,000 tokens and 10,000 at worst."""
_WORDS = 4096


def _network(config: Config) -> nn.Module:
    from glmstore.models.architectures.alibi_bert import AlibiBert

    return AlibiBert(config)


def _tokenizer(_config: Config, folder: Path | None) -> Tokenizer:
    from glmstore.models.tokenizers.bpe import BPETokenizer

    return BPETokenizer.from_folder(folder, max_tokens=None)


def _tiny_tokenizer() -> Tokenizer:
    from glmstore.models.tokenizers.bpe import BPETokenizer
    from glmstore.models.tokenizers.tiny_bpe import tiny_bpe_json

    return BPETokenizer(tiny_bpe_json(), max_tokens=None)


def _shape(config: Config) -> dict[str, Any]:
    return {"dim": config["hidden_size"], "n_layers": config["num_hidden_layers"], "max_nt": MAX_NT}


_CONFIG = {
    "vocab_size": _WORDS,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.0,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    # Not the tokenizer's [PAD], which is 3: upstream leaves it out, and BERT's default starts [UNK] at zero.
    "pad_token_id": 0,
}

FAMILY = Family(
    name="dnabert2",
    network=_network,
    tokenizer=_tokenizer,
    tiny_tokenizer=_tiny_tokenizer,
    traits={
        "family": "DNABERT-2",
        "objective": "mlm",
        "tokenization": "bpe",
        "has_cls": True,
        "poolings": ("mean", "max", "tokens", "cls"),
        "lora_targets": ("Wqkv",),
        "licence": "Apache-2.0",
        "citation": "Zhou, Ji, Li, Dutta, Davuluri & Liu 2024, ICLR; arXiv:2306.15006",
    },
    shape=_shape,
    # Six heads: a number that is no power of two, like the published twelve, takes slopes of two series.
    tiny={
        **_CONFIG,
        "vocab_size": 64,
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "initializer_range": 0.2,
        "num_attention_heads": 6,
        "intermediate_size": 32,
    },
    source="frederikkemarin/BEND, bend/models/dnabert2.py at a44041b: bert_layers.py of the hub repository",
)

DNABERT2_MODELS = (
    published(
        FAMILY,
        FAMILY.describe(
            _CONFIG,
            name="dnabert2-117m",
            summary="DNABERT-2, pretrained on the human genome and those of 135 other species.",
            hub_id="zhihan1996/DNABERT-2-117M",
            revision=None,
            n_parameters=117_074_176,
            pretraining=Pretraining(
                complete=False,
                species=(
                    "Homo sapiens",
                    "Mammalia",
                    "Vertebrata",
                    "Invertebrata",
                    "Protozoa",
                    "Fungi",
                    "Bacteria",
                ),
                assembly=None,
                chromosomes=None,
            ),
        ),
        _CONFIG,
        HubSource(
            repo="zhihan1996/DNABERT-2-117M", weights=("pytorch_model.bin",), tokenizer=("tokenizer.json",)
        ),
    ),
)
