"""Random twins: the same network, tokeniser and shapes with weights that have learnt nothing."""

from __future__ import annotations

from functools import partial

from glmstore.errors import WeightsError
from glmstore.models.base import DerivedModel, ModelEntry
from glmstore.models.catalogue import get_model
from glmstore.models.family import Architecture
from glmstore.models.seeded import split_seed
from glmstore.models.spec import Pretraining

PREFIX = "rand_init"


def build(argument: str) -> ModelEntry:
    """Return the twin addressed by ``<model>:<seed>``.

    Its revision follows from the network's shape, its initialisation and the seed, not from trained weights;
    where the vocabulary is a file that was pulled, from that file too: another one gives other tokens.

    Raises
    ------
    UnknownNameError
        If the model is not known or the seed is not a whole number from 0 up.
    WeightsError
        If the model has no weights that could be drawn anew.
    """
    asked, number = split_seed(PREFIX, argument, "<model>")
    base_entry = get_model(asked)
    base_name = base_entry.name
    if base_entry.untrained is None:
        raise WeightsError(f"{base_name} has no weights that could be drawn anew, so it has no random twin.")
    spec = base_entry.spec.model_copy(
        update={
            "name": f"{PREFIX}:{base_name}:{number}",
            "summary": f"{base_name} with random weights, seed {number}.",
            "revision": f"{base_entry.untrained.recipe}{_vocabulary(base_entry)}-seed{number}",
            "weights_sha256": None,
            "pretraining": Pretraining(species=(), assembly=None, chromosomes=()),
            "control": "random_twin",
            "twin_of": base_name,
        }
    )
    return ModelEntry(spec, partial(base_entry.untrained.build, spec, number), base_entry.untrained)


def _vocabulary(base: ModelEntry) -> str:
    """Return what tells the pulled vocabularies of a model apart; nothing where it is code, or not here."""
    made, sha256 = base.untrained, base.spec.tokenizer_sha256
    is_file = isinstance(made, Architecture) and made.family.tiny_tokenizer is not None
    return f"-{sha256[:8]}" if is_file and sha256 else ""


RANDOM_TWIN = DerivedModel(PREFIX, f"{PREFIX}:<model>:<seed>", build)
