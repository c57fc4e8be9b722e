"""Whether a model can be loaded on this machine, asked before anything is written or downloaded."""

from __future__ import annotations

from glmstore.errors import ModelUnavailableError, WeightsError
from glmstore.models.base import MachineNeeds, ModelEntry
from glmstore.models.catalogue import get_model
from glmstore.models.checkpoints.advice import how_to_get
from glmstore.models.checkpoints.presence import require
from glmstore.models.checkpoints.source import folder_of, read_record


def lineage(entry: ModelEntry) -> list[ModelEntry]:
    """Return a model, the one that it was made from, and so on to the one whose weights are published."""
    found = [entry]
    while (parent := found[-1].spec.twin_of) is not None:
        found.append(get_model(parent))
    return found


def machine_text(model: str, needs: MachineNeeds) -> str:
    """Return what a model lacks on this machine, if anything, and all that it needs."""
    lacks = needs.lacking()
    here = f"cannot run on this machine: {'; '.join(lacks)}" if lacks else "can run on this machine"
    return f"{model} {here}. {needs.describe()}"


def require_machine(entry: ModelEntry) -> None:
    """Refuse a model that this machine cannot run, whether or not its weights are here.

    Raises
    ------
    ModelUnavailableError
        Says what the model needs, and what of it is not here.
    """
    needs = lineage(entry)[-1].needs
    if needs is not None and needs.lacking():
        raise ModelUnavailableError(machine_text(entry.name, needs))


def require_ready(entry: ModelEntry) -> None:
    """Refuse a model that cannot run here, or for which files are missing or have another size; loads none.

    Raises
    ------
    ModelUnavailableError
        If the machine lacks what the model needs.
    WeightsError
        If weights, or the tokenizer that a random twin shares with its model, are not here; says how to get
        them.
    """
    require_machine(entry)
    *made, origin = lineage(entry)
    if any(step.spec.control == "random_twin" for step in made):
        if origin.source is None or not origin.source.tokenizer:
            return
        what = f"the tokenizer published with {origin.name} is"
    else:
        what = f"the weights of {origin.name} are" if made else "its weights are"
    folder = folder_of(origin.name)
    if read_record(folder) is not None:
        require(origin.name, folder)
    elif origin.spec.revision is None:
        how = how_to_get(origin.name, origin.source)
        raise WeightsError(f"{entry.name} cannot be used yet: {what} {how}.")
