"""The model protocol over a GPN network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from glmstore.errors import LayerError, ShapeError, WeightsError
from glmstore.models.architectures.gpn import GPNForMaskedLM, initialise
from glmstore.models.base import Batch, ModelSpec
from glmstore.models.encoding import encode_characters, letter_table
from glmstore.models.gpn_config import BASE_IDS, MASK_ID, PAD_ID, UNK_ID, GPNConfig
from glmstore.models.provenance import provenance_of
from glmstore.views import Provenance

_TABLE = letter_table((*BASE_IDS, UNK_ID))


class GPN:
    """A GPN as feature extractor and masked language model.

    Attributes
    ----------
    spec
        The description.
    network
        The torch module; fine-tuning wraps it.
    device
        Where the network lies; batches are moved there.
    """

    def __init__(self, spec: ModelSpec, network: GPNForMaskedLM, device: str = "cpu") -> None:
        self.spec = spec
        self.network = network.to(device).eval()
        self.device = torch.device(device)

    def encode(self, sequences: Sequence[str]) -> Batch:
        """Tokenise normalised sequences, one token a nucleotide, N as [UNK].

        Raises
        ------
        EmptySequenceError, SequenceTooLongError
            Names the record by its place in `sequences`.
        """
        return encode_characters(sequences, _TABLE, PAD_ID, self.spec)

    def hidden_states(self, batch: Batch, layer: int) -> Tensor:
        """Return [B, T, D] at `layer`, 0 for the embedding; later blocks are not computed.

        A position's vector does not depend on padding: padded positions enter every convolution as the zeros
        that lie beyond a sequence's end.

        Raises
        ------
        LayerError
            If the model has no such layer.
        """
        if not 0 <= layer <= self.spec.n_layers:
            raise LayerError(
                f"{self.spec.name} has layers 0 to {self.spec.n_layers}; {layer} is none of them."
            )
        batch = batch.to(self.device)
        mask = None if bool(batch.attention_mask.all()) else batch.attention_mask
        hidden: Tensor = self.network.model(batch.ids, mask, layer)
        return hidden

    def logits(self, batch: Batch) -> Tensor:
        """Return vocabulary logits [B, T, 7] at every token."""
        logits: Tensor = self.network.cls(self.hidden_states(batch, self.spec.n_layers))
        return logits

    @torch.inference_mode()
    def base_probs(self, sequences: Sequence[str], positions: Sequence[int]) -> Tensor:
        """Mask one position a sequence and return float32 [B, 4], p(A), p(C), p(G), p(T) there.

        Parameters
        ----------
        sequences
            Normalised, all of one length.
        positions
            0-based, one a sequence.

        Raises
        ------
        ShapeError
            If lengths differ, counts differ, or a position lies outside.
        """
        if len(sequences) != len(positions) or len({len(s) for s in sequences}) != 1:
            raise ShapeError("base_probs needs sequences of one length and one position for each.")
        length = len(sequences[0])
        outside = [p for p in positions if not 0 <= p < length]
        if outside:
            raise ShapeError(f"position {outside[0]} lies outside a sequence of {length} nt (0-based).")
        batch = self.encode(sequences)
        rows, columns = torch.arange(len(sequences)), torch.as_tensor(positions)
        batch.ids[rows, columns] = MASK_ID
        with torch.autocast(self.device.type, enabled=False):
            hidden = self.hidden_states(batch, self.spec.n_layers)[rows, columns]
            return self.network.cls(hidden)[:, list(BASE_IDS)].float().softmax(dim=-1)  # type: ignore[no-any-return]

    def provenance(self, precision: str) -> Provenance:
        """Return what is written beside every view of this model."""
        return provenance_of(self.spec, precision)


def load_pretrained(spec: ModelSpec, config: GPNConfig, weights: Path, device: str) -> GPN:
    """Load safetensors weights, of any float type, into a float32 network.

    Raises
    ------
    WeightsError
        If the file is missing or truncated, is not the one `spec` pins, or does not fit `config`.
    """
    import hashlib

    try:
        found = hashlib.sha256(weights.read_bytes()).hexdigest()
        if spec.weights_sha256 is not None and found != spec.weights_sha256:
            raise WeightsError(
                f"{weights.name} of {spec.name} has sha256 {found}, not {spec.weights_sha256}; reinstall it."
            )
        state = {name: tensor.float() for name, tensor in load_file(weights).items()}
        network = GPNForMaskedLM(config)
        network.load_state_dict(state)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"the weights of {spec.name} do not load: {error}") from error
    return GPN(spec, network, device)


def build_untrained(config: GPNConfig, spec: ModelSpec, seed: int, device: str) -> GPN:
    """Return a network whose weights come from `config` and `seed` only."""
    return GPN(spec, initialise(config, seed), device)
