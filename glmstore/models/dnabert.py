"""DNABERT: BERT over k-mers at every nucleotide, k from 3 to 6.

Ji et al. 2021, Bioinformatics 37(15): 2112-2120. It hides no single letter: the k - 1 k-mers on either side
of a hidden one spell all its letters, which is why upstream masks k neighbours at once, so
``scores_masked_bases`` is False. 512 tokens with ``[CLS]`` and ``[SEP]`` are 509 + k nucleotides; upstream's
own code cuts longer ones into pieces that do not see each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmstore.models.base import ModelEntry
from glmstore.models.bert_base import BERT_BASE
from glmstore.models.checkpoints.source import HubSource
from glmstore.models.family import Config, Family, published
from glmstore.models.spec import Pretraining
from glmstore.models.tokenizers.overlapping import SPECIALS, vocabulary_sha256

if TYPE_CHECKING:
    from torch import nn

    from glmstore.models.tokenizers.base import Tokenizer

POOLER_AND_BUFFERS = (r"bert\.pooler\..*", r"bert\.embeddings\.position_ids")
"""Published tensors without a place in the masked language model."""


def _network(config: Config) -> nn.Module:
    from glmstore.models.architectures.bert import Bert

    return Bert(config)


def _k(config: Config) -> int:
    words: int = config["vocab_size"] - len(SPECIALS)
    return (words.bit_length() - 1) // 2


def _tokenizer(config: Config, _folder: Path | None) -> Tokenizer:
    from glmstore.models.tokenizers.overlapping import OverlappingTokenizer

    return OverlappingTokenizer(_k(config), max_tokens=config["max_position_embeddings"])


def _shape(config: Config) -> dict[str, Any]:
    return {
        "dim": config["hidden_size"],
        "n_layers": config["num_hidden_layers"],
        "max_nt": config["max_position_embeddings"] - 2 + _k(config) - 1,
    }


def _config(k: int) -> dict[str, Any]:
    return {
        **BERT_BASE,
        "vocab_size": len(SPECIALS) + 4**k,
    }


FAMILY = Family(
    name="dnabert",
    network=_network,
    tokenizer=_tokenizer,
    traits={
        "family": "DNABERT",
        "objective": "mlm",
        "tokenization": "overlapping k-mer",
        "has_cls": True,
        "poolings": ("mean", "max", "tokens", "cls"),
        "lora_targets": ("query", "value"),
        "licence": "Apache-2.0",
        "citation": "Ji, Zhou, Liu & Davuluri 2021, Bioinformatics 37(15): 2112-2120",
    },
    shape=_shape,
    tiny={
        **_config(3),
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "initializer_range": 0.2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 128,
    },
    source="huggingface/transformers 5.23, BertForMaskedLM; jerryji1993/DNABERT at c9b6ccb, dnabert-config",
    ignored=POOLER_AND_BUFFERS,
)

_PARAMETERS = {3: 86_095_941, 4: 86_243_589, 5: 86_834_181, 6: 89_196_549}


def _entry(k: int) -> ModelEntry:
    return published(
        FAMILY,
        FAMILY.describe(
            _config(k),
            name=f"dnabert-{k}",
            summary=f"DNABERT over overlapping {k}-mers of the human genome.",
            hub_id=f"zhihan1996/DNA_bert_{k}",
            revision=None,
            tokenization=f"overlapping {k}-mer",
            tokenizer_sha256=vocabulary_sha256(k),
            n_parameters=_PARAMETERS[k],
            pretraining=Pretraining(species=("Homo sapiens",), assembly="GRCh38", chromosomes=None),
        ),
        _config(k),
        HubSource(repo=f"zhihan1996/DNA_bert_{k}", weights=("pytorch_model.bin",)),
    )


DNABERT_MODELS = tuple(_entry(k) for k in (3, 4, 5, 6))
