"""The multi-task RBP network of Tang et al. 2025 as a representation: what its second convolution gives.

Tang, Somia, Yu & Koo 2025, Genome Biology 26: 203. Trained on eCLIP peaks of 120 RNA-binding proteins in
K562, windows of 1,000 nt. The representation, a vector for 10 nt, is ``layers[-10]`` of the Keras model: the
activation before global average pooling. It is the only layer. A shorter sequence lies in the middle of the
window with zeros around it, as Tang et al. have it. They hand all 100 bins to a probe; here the bins that a
sequence does not overlap are special, so features leave them out.

The weights are published nowhere. Who has the Keras file converts it with
``python -m glmstore.models.checkpoints.keras RBP_pretrain_1k.h5 model.safetensors`` and adopts the folder.
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

BIN_NT = 10


def _window(config: Config) -> Window:
    return Window(config["sequence_length"], BIN_NT, whole=True)


def _network(config: Config) -> nn.Module:
    from glmstore.models.architectures.residualbind import RBPResidualBind

    shape = {key: value for key, value in config.items() if key != "sequence_length"}
    return RBPResidualBind(_window(config), **shape)


def _tokenizer(config: Config, _folder: Path | None) -> Tokenizer:
    from glmstore.models.tokenizers.fixed_length import WindowTokenizer

    return WindowTokenizer(_window(config))


def _shape(config: Config) -> Config:
    return {
        "dim": config["features"],
        "n_layers": 0,
        "max_nt": config["sequence_length"],
        "tokenizer_sha256": _window(config).sha256,
    }


FAMILY = Family(
    name="residualbind",
    network=_network,
    tokenizer=_tokenizer,
    traits={
        "family": "ResidualBind",
        "objective": "supervised",
        "tokenization": "one-hot window",
        "licence": "unpublished",
        "citation": "Tang, Somia, Yu & Koo 2025, Genome Biology 26: 203",
    },
    shape=_shape,
    tiny={"sequence_length": 100, "filters": 8, "features": 12, "hidden": 16, "n_targets": 5},
    source="amberT15/LLM_eval, chip-clip-seq/RBP_pretrain.py at cad5487, "
    "data_generation/RBP_embed.ipynb at 4a21f71",
)

PUBLISHED = {"sequence_length": 1000, "filters": 96, "features": 192, "hidden": 512, "n_targets": 120}

RESIDUALBIND_MODELS = (
    published(
        FAMILY,
        FAMILY.describe(
            PUBLISHED,
            name="rbp-residualbind",
            summary="Multi-task RBP network of Tang et al. 2025; published nowhere, adopt it from a folder.",
            revision=None,
            n_parameters=381_304,
            pretraining=Pretraining(species=("Homo sapiens",), assembly=None, chromosomes=None),
        ),
        PUBLISHED,
    ),
)
