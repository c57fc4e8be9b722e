"""GPN: dilated convolutions over single nucleotides, masked-language pretrained.

Benegas, Batra & Song 2023, PNAS 120(44): e2311219120. ``gpn-human`` is what Tang et al. 2025 trained on
the human genome; those weights are on no hub, so they are adopted from a folder or trained by the
``pretrain`` flow.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmstore.errors import WeightsError
from glmstore.models.base import GenomicLM, ModelEntry
from glmstore.models.checkpoints.source import HubSource
from glmstore.models.family import Config, Family, published
from glmstore.models.gpn_config import LORA_TARGETS, MASK_ID, PAD_ID, UNK_ID, VOCABULARY, GPNConfig
from glmstore.models.gpn_config import vocabulary_sha256 as _vocabulary_sha256
from glmstore.models.spec import ModelSpec, Pretraining

if TYPE_CHECKING:
    from torch import nn

    from glmstore.models.tokenizers.base import Tokenizer

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "MODEL_CARD.md"
MAX_NT = 65_536
"""The network has no limit of its own; this one bounds the memory that a single sequence can take."""


def _network(config: Config) -> nn.Module:
    from glmstore.models.architectures.gpn import GPNForMaskedLM

    return GPNForMaskedLM(GPNConfig(**config))


def _tokenizer(_config: Config, _folder: Path | None) -> Tokenizer:
    from glmstore.models.tokenizers.character import CharacterTokenizer

    return CharacterTokenizer(VOCABULARY, pad_id=PAD_ID, unknown_id=UNK_ID, mask_id=MASK_ID)


def _shape(config: Config) -> Config:
    shape = GPNConfig(**config)
    return {"dim": shape.hidden_size, "n_layers": shape.n_layers, "max_nt": MAX_NT}


FAMILY = Family(
    name="gpn",
    network=_network,
    tokenizer=_tokenizer,
    traits={
        "family": "GPN",
        "objective": "mlm",
        "tokenization": "character",
        "tokenizer_sha256": _vocabulary_sha256(),
        "lora_targets": LORA_TARGETS,
        "scores_masked_bases": True,
        "licence": "MIT",
        "citation": "Benegas, Batra & Song 2023, PNAS 120(44): e2311219120",
    },
    shape=_shape,
    tiny={"hidden_size": 16, "n_layers": 3, "kernel_size": 5, "dilation_cycle": 2},
    source="songlab-cal/gpn, gpn/model.py and gpn/modules.py at 3685ddf",
)


def read_card(folder: Path) -> dict[str, Any]:
    """Return the ``glmstore`` section of a folder's ``config.json``: what the export recorded.

    Raises
    ------
    WeightsError
        If it is missing.
    """
    try:
        card: dict[str, Any] = json.loads((folder / CONFIG).read_text())["glmstore"]
    except (OSError, json.JSONDecodeError, KeyError) as error:
        raise WeightsError(f"{folder.name}/{CONFIG} holds no record of an export ({error!r}).") from error
    return card


def entry_from_folder(folder: Path, *, summary: str, pretraining: Pretraining, licence: str) -> ModelEntry:
    """Return the entry of a checkpoint written by :func:`glmstore.pretraining.export_weights`.

    Name, revision and sha256 are read from the folder, so new weights are a change of data only.

    Raises
    ------
    WeightsError
        If ``config.json`` is missing or unreadable.
    """
    config, card = GPNConfig.read(folder / CONFIG), read_card(folder)
    spec = FAMILY.describe(
        config.model_dump(),
        n_parameters=config.n_parameters,
        name=card["name"],
        summary=summary,
        revision=card["weights_sha256"],
        weights_sha256=card["weights_sha256"],
        pretraining=pretraining,
        licence=licence,
    )
    untrained = published(FAMILY, spec, config.model_dump()).untrained
    return ModelEntry(spec, partial(_load_shipped, spec, config, folder / WEIGHTS), untrained)


def _load_shipped(spec: ModelSpec, config: GPNConfig, weights: Path, device: str) -> GenomicLM:
    """Load exported weights, of any float type, into a float32 network."""
    import hashlib

    from glmstore.models.architectures.language_model import LanguageModel
    from glmstore.models.checkpoints.loading import build_unfilled, load_strict

    try:
        with weights.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"the weights of {spec.name} cannot be read: {error}") from error
    if spec.weights_sha256 is not None and found != spec.weights_sha256:
        raise WeightsError(
            f"{weights.name} of {spec.name} has sha256 {found}, not {spec.weights_sha256}; reinstall it."
        )
    network = build_unfilled(partial(_network, config.model_dump()))
    load_strict(network, [weights], owner=spec.name)
    return LanguageModel(spec, network, _tokenizer({}, None), device)


_PUBLISHED = GPNConfig()

GPN_MODELS = (
    published(
        FAMILY,
        FAMILY.describe(
            _PUBLISHED.model_dump(),
            name="gpn-brassicales",
            summary="GPN of the paper's authors, pretrained on eight Brassicales genomes.",
            hub_id="songlab/gpn-brassicales",
            revision=None,
            n_parameters=_PUBLISHED.n_parameters,
            pretraining=Pretraining(
                species=("Arabidopsis thaliana",), complete=False, assembly=None, chromosomes=None
            ),
        ),
        _PUBLISHED.model_dump(),
        HubSource(repo="songlab/gpn-brassicales", weights=("pytorch_model.bin",)),
    ),
    published(
        FAMILY,
        FAMILY.describe(
            _PUBLISHED.model_dump(),
            name="gpn-human",
            summary="GPN trained on the human genome by Tang et al. 2025; on no hub, adopt it from a folder.",
            revision=None,
            n_parameters=_PUBLISHED.n_parameters,
            pretraining=Pretraining(species=("Homo sapiens",), assembly="GRCh38", chromosomes=None),
            licence="unpublished",
        ),
        _PUBLISHED.model_dump(),
    ),
)
