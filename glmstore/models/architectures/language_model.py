"""The model protocol over a torch network and a tokenizer: what all families share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import Tensor, nn

from glmstore.errors import ScorerError, ShapeError
from glmstore.models.base import Batch
from glmstore.models.encoding import check_lengths
from glmstore.models.layered import Layered
from glmstore.models.provenance import provenance_of
from glmstore.models.spec import ModelSpec
from glmstore.models.tokenizers.base import CountingTokenizer
from glmstore.views import Provenance

if TYPE_CHECKING:
    import numpy as np

    from glmstore.models.network import Network
    from glmstore.models.tokenizers.base import Tokenizer

BaseMode = Literal["marginal", "conditional"]
BASES = "ACGT"


class LanguageModel(Layered):
    """A network with its tokenizer, as feature extractor and as language model.

    Attributes
    ----------
    spec
        The description.
    network
        The torch module, in evaluation mode; fine-tuning puts adapters into it.
    tokenizer
        Makes its batches.
    device
        Where the network lies; batches are moved there.
    """

    def __init__(
        self, spec: ModelSpec, network: nn.Module, tokenizer: Tokenizer, device: str = "cpu"
    ) -> None:
        self.spec, self.tokenizer = spec, tokenizer
        self.network = network.to(device).eval()
        self.device = torch.device(device)
        self._columns: dict[tuple[int, int], list[list[int]]] = {}

    @property
    def n_embeddings(self) -> int | None:
        """Rows of the first embedding table; None for networks that take letters one-hot."""
        tables = (m for m in self.network.modules() if isinstance(m, nn.Embedding))
        first = next(tables, None)
        return first.num_embeddings if first is not None else None

    @property
    def max_tokens(self) -> int | None:
        """Longest input in tokens; None where there is no limit, or `spec.max_nt` says as much."""
        return self.tokenizer.max_tokens if isinstance(self.tokenizer, CountingTokenizer) else None

    def count_tokens(self, sequences: Sequence[str]) -> np.ndarray:
        """Return int64 [n], the tokens of each normalised sequence, specials included.

        Makes whole batches where the tokenizer cannot count without.
        """
        if isinstance(self.tokenizer, CountingTokenizer):
            return self.tokenizer.count(sequences)
        counted: np.ndarray = self.tokenizer.encode(sequences).attention_mask.sum(dim=1).numpy()
        return counted

    def encode(self, sequences: Sequence[str]) -> Batch:
        """Tokenise normalised sequences.

        Raises
        ------
        EmptySequenceError, SequenceTooLongError
            Names the record by its place in `sequences`.
        """
        check_lengths(self.spec, [len(s) for s in sequences])
        return self.tokenizer.encode(sequences)

    def layers(self, batch: Batch) -> Iterator[Tensor]:
        """Yield [B, T, D] of the embedding (layer 0), then of every block, each computed when asked for."""
        batch = batch.to(self.device)
        mask = None if bool(batch.attention_mask.all()) else batch.attention_mask
        yield from cast("Network", self.network).states(batch.ids, mask)

    def logits(self, batch: Batch) -> Tensor:
        """Return vocabulary logits [B, T, V] at every token."""
        return cast("Network", self.network).logits(self.hidden_states(batch, self.spec.n_layers))

    @torch.inference_mode()
    def base_probs(
        self, sequences: Sequence[str], positions: Sequence[int], mode: BaseMode = "marginal"
    ) -> Tensor:
        """Mask the token over a position of each sequence; return float32 [B, 4], p(A), p(C), p(G), p(T).

        Parameters
        ----------
        sequences
            Normalised, all of one length.
        positions
            0-based, one a sequence.
        mode
            For tokens of several letters: ``marginal`` sums over every token of that length with the base in
            its place; ``conditional`` compares the four tokens that differ from the sequence there only. The
            two agree for single letters.

        Raises
        ------
        ScorerError
            If the model's tokens do not allow it.
        ShapeError
            If lengths differ, counts differ, or a position lies outside.
        """
        if not self.spec.scores_masked_bases or self.tokenizer.mask_id is None:
            raise ScorerError(
                f"{self.spec.name} cannot hide one letter and ask for it; use an embedding scorer."
            )
        length = _one_length(sequences, positions)
        outside = [p for p in positions if not 0 <= p < length]
        if outside:
            raise ShapeError(f"position {outside[0]} lies outside a sequence of {length} nt (0-based).")
        batch = self.encode(sequences)
        at = torch.as_tensor(positions).unsqueeze(1)
        covers = (batch.spans[..., 0] <= at) & (at < batch.spans[..., 1])
        rows, columns = covers.nonzero(as_tuple=True)
        starts = batch.spans[rows, columns, 0].tolist()
        hidden_tokens = batch.ids[rows, columns].tolist()
        batch.ids[rows, columns] = self.tokenizer.mask_id
        with torch.autocast(self.device.type, enabled=False):
            hidden = self.hidden_states(batch, self.spec.n_layers)[rows, columns]
            p = cast("Network", self.network).logits(hidden).float().softmax(dim=-1)
        found = p.new_zeros(len(sequences), len(BASES))
        for row, (token, place, start) in enumerate(zip(hidden_tokens, positions, starts, strict=True)):
            for column, ids in enumerate(self._candidates(token, place - start, mode)):
                found[row, column] = p[row, ids].sum()
        return found / found.sum(dim=1, keepdim=True)

    def _candidates(self, token: int, offset: int, mode: BaseMode) -> list[list[int]]:
        """Return, for A, C, G and T, the ids of the tokens that would put that base at `offset`."""
        text = self.tokenizer.strings[token] or "N"
        if mode == "marginal":
            return self._with_base_at(len(text), offset)
        wanted = [text[:offset] + base + text[offset + 1 :] for base in BASES]
        return [[i for i, s in enumerate(self.tokenizer.strings) if s == word] for word in wanted]

    def _with_base_at(self, length: int, offset: int) -> list[list[int]]:
        if (length, offset) not in self._columns:
            whole = [
                (i, s) for i, s in enumerate(self.tokenizer.strings) if len(s) == length and "N" not in s
            ]
            self._columns[length, offset] = [[i for i, s in whole if s[offset] == base] for base in BASES]
        return self._columns[length, offset]

    def provenance(self, precision: str) -> Provenance:
        """Return what is written beside every view of this model."""
        return provenance_of(self.spec, precision)


def _one_length(sequences: Sequence[str], positions: Sequence[int]) -> int:
    if len(sequences) != len(positions) or len({len(s) for s in sequences}) != 1:
        raise ShapeError("base_probs needs sequences of one length and one position for each.")
    return len(sequences[0])
