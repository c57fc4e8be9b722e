"""What the torch module of a model family does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Network(Protocol):
    """What the torch module of a family does; its parameters carry the published names."""

    def states(self, ids: Tensor, attention_mask: Tensor | None) -> Iterator[Tensor]:
        """Yield float [B, T, D] of the embedding (layer 0), then of every block, each when asked for.

        The last one is what the published model calls its last hidden state, a final norm included.

        Parameters
        ----------
        ids
            int64 [B, I], padded on the right; I is T unless the network bins its input.
        attention_mask
            bool [B, I], False on padding; None when there is none.
        """
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Return vocabulary logits [..., V] of last hidden states [..., D]."""
        ...
