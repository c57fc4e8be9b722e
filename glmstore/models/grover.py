"""GROVER: BERT over the 600 byte-pair pieces of the human genome.

Sanabria, Hirsch, Joubert & Poetsch 2024, Nat. Mach. Intell. 6(8): 911-923. Pieces are of several letters and
change with the sequence around a letter, so no single letter can be hidden and asked for. The published
tokenizer is an ordinary byte-pair file; its last entry, 609, is empty, never made, and without a row in the
network. Near the ends of a sequence the pieces differ from those the model was trained on: its authors advise
100 nt more on either side.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmstore.models.bert_base import BERT_BASE
from glmstore.models.checkpoints.source import HubSource
from glmstore.models.dnabert import POOLER_AND_BUFFERS
from glmstore.models.family import Config, Family, published
from glmstore.models.spec import Pretraining

if TYPE_CHECKING:
    from torch import nn

    from glmstore.models.tokenizers.base import Tokenizer

MAX_NT = 1_500
"""What fits into 512 tokens whatever the letters, but for Ns: human DNA takes a token for about four letters,
so 2,000 nt of it would fit. It is also the width of the windows that longer sequences are read through; the
tokenizer counts, and refuses what does not fit."""


def _network(config: Config) -> nn.Module:
    from glmstore.models.architectures.bert import Bert

    return Bert(config)


def _tokenizer(config: Config, folder: Path | None) -> Tokenizer:
    from glmstore.models.tokenizers.bpe import BPETokenizer

    return BPETokenizer.from_folder(folder, max_tokens=config["max_position_embeddings"])


def _tiny_tokenizer() -> Tokenizer:
    from glmstore.models.tokenizers.bpe import BPETokenizer
    from glmstore.models.tokenizers.tiny_bpe import tiny_bpe_json

    return BPETokenizer(tiny_bpe_json(), max_tokens=_CONFIG["max_position_embeddings"])


def _shape(config: Config) -> dict[str, Any]:
    return {"dim": config["hidden_size"], "n_layers": config["num_hidden_layers"], "max_nt": MAX_NT}


_CONFIG: dict[str, Any] = {
    **BERT_BASE,
    "vocab_size": 609,
}

FAMILY = Family(
    name="grover",
    network=_network,
    tokenizer=_tokenizer,
    tiny_tokenizer=_tiny_tokenizer,
    traits={
        "family": "GROVER",
        "objective": "mlm",
        "tokenization": "bpe",
        "has_cls": True,
        "poolings": ("mean", "max", "tokens", "cls"),
        "lora_targets": ("query", "value"),
        "licence": "not stated",
        "citation": "Sanabria, Hirsch, Joubert & Poetsch 2024, Nat. Mach. Intell. 6(8): 911-923",
    },
    shape=_shape,
    tiny={
        **_CONFIG,
        "vocab_size": 64,
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "initializer_range": 0.2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    },
    source="huggingface/transformers 5.23, BertForMaskedLM; files of PoetschLab/GROVER at 6b22311",
    ignored=POOLER_AND_BUFFERS,
)

GROVER_MODELS = (
    published(
        FAMILY,
        FAMILY.describe(
            _CONFIG,
            name="grover",
            summary="GROVER, pretrained on the human genome.",
            hub_id="PoetschLab/GROVER",
            revision=None,
            n_parameters=86_511_201,
            pretraining=Pretraining(species=("Homo sapiens",), assembly="GRCh37", chromosomes=None),
        ),
        _CONFIG,
        HubSource(repo="PoetschLab/GROVER", weights=("pytorch_model.bin",), tokenizer=("tokenizer.json",)),
    ),
)
