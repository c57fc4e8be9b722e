"""Shuffled weights: every tensor of a trained model keeps its values and loses their places.

A random twin differs from its model in the scale and spread of its weights as well as in what was learnt.
Here each tensor keeps its distribution, and only the arrangement, which training is for, is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from glmstore.errors import WeightsError
from glmstore.models.base import DerivedModel, GenomicLM, ModelEntry
from glmstore.models.catalogue import get_model
from glmstore.models.seeded import split_seed
from glmstore.models.spec import Pretraining

if TYPE_CHECKING:
    from torch import Tensor, nn

    from glmstore.models.spec import ModelSpec

PREFIX = "shuf_weights"
USAGE = f"{PREFIX}:<model>:<seed>"


def build(argument: str) -> ModelEntry:
    """Return the control addressed by ``<model>:<seed>``.

    Raises
    ------
    UnknownNameError
        If the model is not known or the seed is not a whole number from 0 up.
    WeightsError
        If the model has no weights.
    """
    asked, seed = split_seed(PREFIX, argument, "<model>")
    base = get_model(asked)
    base_name = base.name
    if base.untrained is None:
        raise WeightsError(f"{base_name} has no weights that could be shuffled.")
    revision = base.spec.revision and f"{base.spec.revision[:16]}-shuffle1-seed{seed}"
    spec = base.spec.model_copy(
        update={
            "name": f"{PREFIX}:{base_name}:{seed}",
            "summary": f"{base_name} with the entries of every weight tensor in random order, seed {seed}.",
            "revision": revision,
            "weights_sha256": None,
            "pretraining": Pretraining(species=(), assembly=None, chromosomes=()),
            "control": "shuffled_weights",
            "twin_of": base_name,
        }
    )
    return ModelEntry(spec, partial(_load, base, spec, seed))


def _load(base: ModelEntry, spec: ModelSpec, seed: int, device: str) -> GenomicLM:
    import torch

    model: Any = base.load(device)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, weights in sorted(_learnt(model.network)):
            order = torch.randperm(weights.numel(), generator=generator).to(weights.device)
            weights.copy_(weights.flatten()[order].view_as(weights))
    model.spec = spec
    shuffled: GenomicLM = model
    return shuffled


def _learnt(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield what training has set: the parameters, and the running statistics of batch normalisation."""
    yield from network.named_parameters()
    yield from ((n, b) for n, b in network.named_buffers() if n.endswith(("running_mean", "running_var")))


SHUFFLED_WEIGHTS = DerivedModel(PREFIX, USAGE, build)
