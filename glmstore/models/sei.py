"""Sei, a supervised network of chromatin profiles, as a representation: what its spline basis gives.

Chen, Wong, Troyanskaya & Zhou 2022, Nature Genetics 54: 940-949. Tang et al. 2025 take the output of the
spline basis, 960 channels x 16 functions, before the classifier. It describes the whole window, and
functions of a basis are no places, so it is one token of 15,360 features (channel after channel) that spans
the whole sequence; mean pooling gives that vector. It is also the only layer: those before have other
widths and positions.

A sequence shorter than the window lies in its middle with zeros around it, as Tang et al. have it, and an N
inside a sequence is a quarter in each channel, as in training. The published predictions average both
strands; the representation of Tang et al. is that of the given strand (strand ``mean`` averages two).

The weights (``sei.pth``, doi:10.5281/zenodo.4906996) are on no hub: adopt the folder that holds them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from glmstore.models.family import Config, Family, published
from glmstore.models.spec import Pretraining
from glmstore.models.tokenizers.fixed_length import Window

if TYPE_CHECKING:
    from torch import nn

    from glmstore.models.tokenizers.base import Tokenizer

PREFIX = "module.model."
"""What training in parallel on both strands put before every published name."""


def _window(config: Config) -> Window:
    length = config["sequence_length"]
    return Window(length, length, unknown=0.25)


def _network(config: Config) -> nn.Module:
    from glmstore.models.architectures.sei import Sei

    shape = {key: value for key, value in config.items() if key != "sequence_length"}
    return Sei(_window(config), **shape)


def _tokenizer(config: Config, _folder: Path | None) -> Tokenizer:
    from glmstore.models.tokenizers.fixed_length import WindowTokenizer

    return WindowTokenizer(_window(config))


def _shape(config: Config) -> Config:
    return {
        "dim": config["channels"][-1] * config["degrees_of_freedom"],
        "n_layers": 0,
        "max_nt": config["sequence_length"],
        "tokenizer_sha256": _window(config).sha256,
    }


FAMILY = Family(
    name="sei",
    network=_network,
    tokenizer=_tokenizer,
    traits={
        "family": "Sei",
        "objective": "supervised",
        "tokenization": "one-hot window",
        "poolings": ("mean", "tokens"),
        "licence": "academic and research use only (sei-framework)",
        "citation": "Chen, Wong, Troyanskaya & Zhou 2022, Nature Genetics 54: 940-949",
    },
    shape=_shape,
    tiny={
        "sequence_length": 128,
        "channels": [6, 8, 10],
        "dilations": [2, 4],
        "degrees_of_freedom": 5,
        "n_genomic_features": 7,
    },
    source="FunctionLab/sei-framework, model/sei.py at b220c46",
    rename=lambda name: name.removeprefix(PREFIX),
)

PUBLISHED = {
    "sequence_length": 4096,
    "channels": [480, 640, 960],
    "dilations": [2, 4, 8, 16, 25],
    "degrees_of_freedom": 16,
    "n_genomic_features": 21_907,
}

# train/train.yml of the source at 10a1aa1: chromosomes 8 and 9 are for testing, 10 for validation.
_TRAINED_ON = tuple(f"chr{c}" for c in [*range(1, 8), *range(11, 23), "X", "Y"])

SEI_MODELS = (
    published(
        FAMILY,
        FAMILY.describe(
            PUBLISHED,
            name="sei",
            summary="Sei after its spline basis, before the classifier; on no hub, adopt it from a folder.",
            revision=None,
            n_parameters=889_979_983,
            pretraining=Pretraining(species=("Homo sapiens",), assembly="GRCh38", chromosomes=_TRAINED_ON),
        ),
        PUBLISHED,
    ),
)
