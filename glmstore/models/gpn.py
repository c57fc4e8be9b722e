"""Registry entries for GPN checkpoints that lie in a folder; torch is imported when one is loaded."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmstore.errors import WeightsError
from glmstore.models.base import ModelEntry, ModelSpec, Pretraining, Untrained
from glmstore.models.gpn_config import LORA_TARGETS, GPNConfig, vocabulary_sha256

if TYPE_CHECKING:
    from glmstore.models.architectures.gpn_lm import GPN

CITATION = "Benegas, Batra & Song 2023, PNAS 120(44): e2311219120"
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "MODEL_CARD.md"
MAX_NT = 65_536
"""The network has no limit of its own; this one bounds the memory that a single sequence can take."""


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
    spec = ModelSpec(
        name=card["name"],
        family="GPN",
        summary=summary,
        revision=card["weights_sha256"],
        weights_sha256=card["weights_sha256"],
        tokenizer_sha256=vocabulary_sha256(),
        objective="mlm",
        tokenization="character",
        max_nt=MAX_NT,
        dim=config.hidden_size,
        n_layers=config.n_layers,
        default_layer=(config.n_layers + 1) // 2,
        n_parameters=config.n_parameters,
        lora_targets=LORA_TARGETS,
        pretraining=pretraining,
        licence=licence,
        citation=CITATION,
    )
    return ModelEntry(spec, partial(_load, spec, config, folder / WEIGHTS), untrained_gpn(config))


def untrained_gpn(config: GPNConfig) -> Untrained:
    """Return how a random twin of this shape is built."""
    payload = json.dumps({"initialiser": "gpn-1", **config.model_dump()}, sort_keys=True).encode()
    return Untrained(hashlib.blake2b(payload, digest_size=8).hexdigest(), partial(_build, config))


def _load(spec: ModelSpec, config: GPNConfig, weights: Path, device: str) -> GPN:
    from glmstore.models.architectures.gpn_lm import load_pretrained

    return load_pretrained(spec, config, weights, device)


def _build(config: GPNConfig, spec: ModelSpec, seed: int, device: str) -> GPN:
    from glmstore.models.architectures.gpn_lm import build_untrained

    return build_untrained(config, spec, seed, device)
