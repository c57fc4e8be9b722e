"""Whether published files belong to the model they are taken for; asked before anything is recorded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from glmstore.errors import WeightsError
from glmstore.models.base import ModelEntry
from glmstore.models.checkpoints.advice import advised
from glmstore.models.checkpoints.vocabulary import check_vocabulary
from glmstore.models.family import Architecture

SHOWN = 5
PROBE_NT = 250
"""Nucleotides that a tokenizer is tried on: a token each, at worst, still fits every published context."""


def own_architecture(entry: ModelEntry) -> Architecture | None:
    """Return the architecture of a model with weights of its own; None where there are none, or other code.

    Twins and adapters carry the architecture of the model they were made from: that is not theirs.
    """
    made = entry.untrained
    return made if isinstance(made, Architecture) and made.model == entry.name else None


def require_weights_of_its_own(entry: ModelEntry) -> None:
    """Refuse one-hot, k-mers, twins and adapters.

    Raises
    ------
    WeightsError
        Names the model that was meant, where there is one.
    """
    if entry.source is None and own_architecture(entry) is None:
        parent = f" It was made from {entry.spec.twin_of}: name that." if entry.spec.twin_of else ""
        raise WeightsError(f"{entry.name} has no weights of its own to pull or check.{parent}")


def config_differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Return a line for each key that both configurations have, with another value, in sorted order."""
    # Through JSON and back, so that tuples are lists as in the published file.
    plain = json.loads(json.dumps(ours))
    return [
        f"{key} is {json.dumps(theirs[key])}, not {json.dumps(plain[key])}"
        for key in sorted(plain.keys() & theirs.keys())
        if plain[key] != theirs[key] or isinstance(plain[key], bool) != isinstance(theirs[key], bool)
    ]


def require_config(entry: ModelEntry, path: Path) -> None:
    """Refuse a published configuration that is not the one we build the network from.

    Raises
    ------
    WeightsError
        If the file is no configuration, shares no key with ours, or differs; lists the first differences.
    """
    architecture = own_architecture(entry)
    if architecture is None:
        return
    ours = architecture.config
    try:
        theirs = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is no configuration in JSON: {error}") from error
    if not isinstance(theirs, dict) or not ours.keys() & theirs.keys():
        raise WeightsError(
            f"{path} shares no key with the configuration of {entry.name}: it is of another model."
        )
    found = config_differences(ours, theirs)
    if found:
        more = f" … and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise WeightsError(
            f"the configuration published for {entry.name} is not the one glmstore knows: "
            f"{'; '.join(found[:SHOWN])}{more}. Nothing was recorded. Is it another model, "
            f"or another revision?"
        )


def require_tokenizer(entry: ModelEntry, folder: Path, advice: str) -> None:
    """Refuse a tokenizer file that was made for other weights; needs no weights.

    Parameters
    ----------
    entry
        A model; nothing is asked of one whose vocabulary is code.
    folder
        Holds the tokenizer's files under their published names.
    advice
        Ends every message: what to do about it.

    Raises
    ------
    WeightsError
        If it cannot be read, has more ids than the embedding has rows or far fewer, has known pieces in other
        places than the published one, or makes tokens that do not stand for the letters they come from.
    """
    import torch

    from glmstore.models.architectures.language_model import LanguageModel
    from glmstore.models.checkpoints.measuring import misread_letters

    architecture = own_architecture(entry)
    if architecture is None or entry.source is None or not entry.source.tokenizer:
        return
    family, config = architecture.family, architecture.config
    with advised(advice):
        tokenizer = family.tokenizer(config, folder)
        with torch.device("meta"):
            network = family.network(config)
        model = LanguageModel(entry.spec, network, tokenizer, "meta")
        check_vocabulary(model, entry.source.pieces)
        misread = misread_letters(model, PROBE_NT)
        if misread is not None:
            raise WeightsError(f"the tokenizer beside {entry.name} is another model's: {misread}.")


def require_tensors(entry: ModelEntry, files: Iterable[Path]) -> None:
    """Refuse weights whose names or shapes are not those of the network; allocates none of them.

    Raises
    ------
    WeightsError
        Lists the first differences.
    """
    import torch

    from glmstore.models.checkpoints.loading import load_strict

    architecture = own_architecture(entry)
    if architecture is None:
        return
    family = architecture.family
    with torch.device("meta"):
        network = family.network(architecture.config)
    load_strict(network, files, owner=entry.name, rename=family.rename, ignored=family.ignored)
