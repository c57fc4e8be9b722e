"""GPN: dilated convolutions over single nucleotides, masked-language pretrained.

Benegas, Batra & Song 2023, PNAS 120(44): e2311219120. ``gpn-human`` is what Tang et al. 2025 trained on
the human genome; those weights are on no hub, so they are adopted from a folder. What the ``pretrain`` flow
trains is ``gpn:FOLDER``, see :mod:`glmstore.models.gpn_folder`.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from glmstore.config import Frozen
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


class ExportFacts(Frozen):
    """What an export says of its model beside its shape, in ``config.json``: what a registry entry needs."""

    name: str = Field(min_length=1, description="What its maker called it.")
    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    objective: Literal["mlm"] = "mlm"
    pretraining: Pretraining = Field(
        Pretraining(species=("not stated",), complete=False, assembly=None, chromosomes=None),
        description="What it has seen; where nothing is said, it may have seen anything.",
    )
    licence: str = "not stated"


def read_card(folder: Path) -> dict[str, Any]:
    """Return the ``glmstore`` section of a folder's ``config.json``: what the export recorded.

    Raises
    ------
    WeightsError
        If it is missing.
    """
    try:
        card: dict[str, Any] = json.loads((folder / CONFIG).read_text())["glmstore"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{folder}/{CONFIG} holds no record of an export ({error!r}).") from error
    return card


def read_facts(folder: Path) -> ExportFacts:
    """Return what the export in a folder says of its model.

    Raises
    ------
    WeightsError
        If the record is missing or is no such record.
    """
    card = read_card(folder)
    try:
        return ExportFacts(**{key: card[key] for key in ExportFacts.model_fields if key in card})
    except (ValidationError, TypeError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise WeightsError(f"{folder}/{CONFIG} holds no record of an export ({what}).") from error


def entry_from_folder(
    folder: Path, *, summary: str, name: str | None = None, revision: str | None = None
) -> ModelEntry:
    """Return the entry of a checkpoint written by :func:`glmstore.pretraining.export_weights`.

    All else is read from the folder, so new weights are a change of data only.

    Parameters
    ----------
    folder
        Holds ``model.safetensors`` and ``config.json``.
    summary
        One line for people.
    name, revision
        Of the entry; when not given, the name in ``config.json`` and the sha256 of the weights.

    Raises
    ------
    WeightsError
        If ``config.json`` is missing or unreadable.
    """
    config, facts = GPNConfig.read(folder / CONFIG), read_facts(folder)
    spec = FAMILY.describe(
        config.model_dump(),
        n_parameters=config.n_parameters,
        name=name or facts.name,
        summary=summary,
        revision=revision or facts.weights_sha256,
        weights_sha256=facts.weights_sha256,
        pretraining=facts.pretraining,
        licence=facts.licence,
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
            f"{weights} of {spec.name} has sha256 {found}, not {spec.weights_sha256}: bring back the file "
            f"that was exported or installed."
        )
    network = build_unfilled(partial(_network, config.model_dump()))
    load_strict(network, [weights], owner=spec.name)
    return LanguageModel(spec, network, _tokenizer({}, None), device)


_PUBLISHED = GPNConfig()
_SEEN_BY_TANG = tuple(f"chr{c}" for c in (*range(1, 8), *range(9, 23), "X", "Y", "M"))
"""hg38 with chromosome 8 held out as the test set: Tang et al. 2025, Methods, "Custom GPN"."""

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
            pretraining=Pretraining(species=("Homo sapiens",), assembly="GRCh38", chromosomes=_SEEN_BY_TANG),
            licence="unpublished",
        ),
        _PUBLISHED.model_dump(),
    ),
)
