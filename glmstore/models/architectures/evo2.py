"""Evo 2 through its authors' package, behind our model protocol.

Nothing of the network is ours: ``evo2.Evo2`` (ArcInstitute/evo2, ``evo2/models.py`` at 8a20a4a) builds
StripedHyena 2 of the package ``vortex`` (Zymrael/vortex, ``vortex/model/model.py`` at 350fbb0) and collects
hidden states by forward hooks. What is used of it::

    Evo2(model_name, local_path)
    Evo2.forward(input_ids, return_embeddings=False, layer_names=None) -> (outputs, embeddings)

`outputs` is StripedHyena's pair of logits [B, T, V] and inference parameters; `embeddings` maps a module's
name to its output [B, T, D]. Modules: ``embedding_layer``, ``blocks.0`` …, ``norm``.

Written from that source and tested against a stand-in with the same signatures; not run on real weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from glmstore.errors import LayerError
from glmstore.models.base import Batch
from glmstore.models.encoding import check_lengths
from glmstore.models.layered import Layered
from glmstore.models.provenance import provenance_of
from glmstore.models.spec import ModelSpec
from glmstore.models.tokenizers.base import Tokenizer
from glmstore.views import Provenance

LAYERS_AT_ONCE = 8
"""Layers kept alive when all are asked for; upstream gives them at the end of a pass, not one by one."""


class Upstream(Protocol):
    """What is used of ``evo2.Evo2``."""

    def forward(
        self, input_ids: Tensor, return_embeddings: bool = False, layer_names: list[str] | None = None
    ) -> tuple[Any, dict[str, Tensor] | None]:
        """Return StripedHyena's outputs, and the hidden states asked for by module name."""
        ...


class Evo2Model(Layered):
    """Evo 2 as feature extractor and as causal language model.

    Layer 0 is the embedding, layer i the output of block i - 1, and the last layer that of the final norm. A
    pass always runs to the end: upstream cannot stop early. It computes in bfloat16, whatever is asked for.

    Attributes
    ----------
    spec, tokenizer
        As for every model.
    upstream
        An ``evo2.Evo2``; it places its blocks on the GPUs by itself.
    device
        Where batches go and results are gathered: the first GPU.
    """

    def __init__(
        self, spec: ModelSpec, tokenizer: Tokenizer, upstream: Upstream, device: str = "cuda:0"
    ) -> None:
        self.spec, self.tokenizer, self.upstream = spec, tokenizer, upstream
        self.device = torch.device(device)

    def encode(self, sequences: Sequence[str]) -> Batch:
        """Tokenise normalised sequences.

        Raises
        ------
        EmptySequenceError, SequenceTooLongError
            Names the record by its place in `sequences`.
        """
        check_lengths(self.spec, [len(s) for s in sequences])
        return self.tokenizer.encode(sequences)

    def layer_name(self, layer: int) -> str:
        """Return the upstream module whose output a layer is."""
        if layer == self.spec.n_layers:
            return "norm"
        return "embedding_layer" if layer == 0 else f"blocks.{layer - 1}"

    def layers(self, batch: Batch) -> Iterator[Tensor]:
        """Yield [B, T, D] of layer 0, 1, …; one whole pass for every `LAYERS_AT_ONCE` of them."""
        numbers = range(self.spec.n_layers + 1)
        for start in range(0, len(numbers), LAYERS_AT_ONCE):
            yield from self._states(batch, numbers[start : start + LAYERS_AT_ONCE])

    def hidden_states(self, batch: Batch, layer: int) -> Tensor:
        """Return [B, T, D] at `layer`, in one pass.

        Raises
        ------
        LayerError
            If the model has no such layer.
        """
        if not 0 <= layer <= self.spec.n_layers:
            raise LayerError(
                f"{self.spec.name} has layers 0 to {self.spec.n_layers}; {layer} is none of them."
            )
        (states,) = self._states(batch, [layer])
        return states

    def logits(self, batch: Batch) -> Tensor:
        """Return vocabulary logits [B, T, V]: at t, those of token t + 1."""
        with torch.inference_mode():
            outputs, _ = self.upstream.forward(self._ids(batch))
        logits: Tensor = outputs[0]
        return logits.to(self.device)

    def provenance(self, precision: str) -> Provenance:
        """Return what is written beside every view of this model."""
        return provenance_of(self.spec, precision)

    def _ids(self, batch: Batch) -> Tensor:
        return batch.ids.to(self.device, torch.int)

    def _states(self, batch: Batch, layers: Sequence[int]) -> list[Tensor]:
        names = [self.layer_name(layer) for layer in layers]
        with torch.inference_mode():
            _, states = self.upstream.forward(self._ids(batch), return_embeddings=True, layer_names=names)
        if states is None or set(states) != set(names):
            raise LayerError(f"{self.spec.name}: the evo2 package gave {sorted(states or ())}, not {names}.")
        return [states[name].to(self.device) for name in names]
