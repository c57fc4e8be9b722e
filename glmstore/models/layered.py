"""From a stream of layers to one of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from glmstore.errors import LayerError

if TYPE_CHECKING:
    from torch import Tensor

    from glmstore.models.base import Batch
    from glmstore.models.spec import ModelSpec


class Layered(ABC):
    """Gives `hidden_states` to a model that can yield its layers one after the other."""

    spec: ModelSpec

    @abstractmethod
    def layers(self, batch: Batch) -> Iterator[Tensor]:
        """Yield [B, T, D] of layer 0, 1, … as they are asked for."""

    def hidden_states(self, batch: Batch, layer: int) -> Tensor:
        """Return [B, T, D] at `layer`, 0 for the embedding; later layers are not computed.

        Raises
        ------
        LayerError
            If the model has no such layer.
        """
        if not 0 <= layer <= self.spec.n_layers:
            raise LayerError(
                f"{self.spec.name} has layers 0 to {self.spec.n_layers}; {layer} is none of them."
            )
        return next(islice(self.layers(batch), layer, None))
