"""Enformer, a supervised network of expression and chromatin, as a representation: its bins of 128 nt.

Avsec et al. 2021, Nature Methods 18: 1196-1203. A sequence shorter than the window of 196,608 nt lies in its
middle with zeros around it, as Tang et al. 2025 have it; N is zeros as well.

Tang et al. read the central bin (448 of 896, counted from one), which ends at the window's middle. That is
pooling ``cls``, and the default: the bin stands in front of the others as a token of its own. ``mean``,
``max`` and ``tokens`` are of the bins that a sequence overlaps, which for one of 230 nt are the central bin
and the next. The published network crops 320 bins on each side, whose tracks it never learnt; cropping
changes no other bin, so they are kept here and longer sequences have all their bins.

The only layer is the trunk's output, of twice the width of the transformer's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from glmstore.models.checkpoints.source import HubSource
from glmstore.models.family import Config, Family, published
from glmstore.models.spec import Pretraining
from glmstore.models.tokenizers.fixed_length import Window

if TYPE_CHECKING:
    from torch import nn

    from glmstore.models.tokenizers.base import Tokenizer


def _window(config: Config) -> Window:
    return Window(config["sequence_length"], 2 ** config["num_downsamples"], summary=True)


def _network(config: Config) -> nn.Module:
    from glmstore.models.architectures.enformer import Enformer

    shape = {key: value for key, value in config.items() if key != "sequence_length"}
    return Enformer(_window(config), **shape)


def _tokenizer(config: Config, _folder: Path | None) -> Tokenizer:
    from glmstore.models.tokenizers.fixed_length import WindowTokenizer

    return WindowTokenizer(_window(config))


def _shape(config: Config) -> Config:
    return {
        "dim": 2 * config["dim"],
        "n_layers": 0,
        "max_nt": config["sequence_length"],
        "tokenizer_sha256": _window(config).sha256,
    }


FAMILY = Family(
    name="enformer",
    network=_network,
    tokenizer=_tokenizer,
    traits={
        "family": "Enformer",
        "objective": "supervised",
        "tokenization": "one-hot window",
        "has_cls": True,
        "poolings": ("cls", "mean", "max", "tokens"),
        "default_pooling": "cls",
        "licence": "CC-BY-4.0",
        "citation": "Avsec et al. 2021, Nature Methods 18: 1196-1203",
    },
    shape=_shape,
    tiny={
        "sequence_length": 128,
        "dim": 24,
        "depth": 2,
        "heads": 2,
        "attn_dim_key": 4,
        "num_downsamples": 3,
        "dim_divisible_by": 4,
        "output_heads": {"human": 5, "mouse": 3},
    },
    source="lucidrains/enformer-pytorch, enformer_pytorch/modeling_enformer.py at ab29196; "
    "google-deepmind/deepmind-research, enformer/enformer.py at af3aa09 and enformer/attention_module.py",
    # The published file names the trunk twice: by its parts, and once more as their sequence.
    ignored=(r"_trunk\..*",),
)

PUBLISHED = {
    "sequence_length": 196_608,
    "dim": 1536,
    "depth": 11,
    "heads": 8,
    "attn_dim_key": 64,
    "num_downsamples": 7,
    "dim_divisible_by": 128,
    "output_heads": {"human": 5313, "mouse": 1643},
}

ENFORMER_MODELS = (
    published(
        FAMILY,
        FAMILY.describe(
            PUBLISHED,
            name="enformer",
            summary="Enformer's trunk: the central bin, or the bins of 128 nt that a sequence overlaps.",
            hub_id="EleutherAI/enformer-official-rough",
            revision=None,
            n_parameters=251_221_292,
            # Regions of both genomes were held out by homology, not chromosomes.
            pretraining=Pretraining(
                species=("Homo sapiens", "Mus musculus"), assembly=None, chromosomes=None
            ),
        ),
        PUBLISHED,
        HubSource(repo="EleutherAI/enformer-official-rough", weights=("pytorch_model.bin",)),
    ),
)
