"""One batch through a model, from which every view that was asked for is taken as the layers go by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from glmstore.config import Precision
from glmstore.errors import PoolingError
from glmstore.extraction.hardware import resolve_precision
from glmstore.models.alignment import to_nucleotide
from glmstore.models.base import Batch, DirectPooling, GenomicLM
from glmstore.models.pooling import flip_tokens, nucleotide_mean, pool, real_tokens
from glmstore.models.tf32 import exact_float32
from glmstore.views import DType, Pooling, Strand

if TYPE_CHECKING:
    from torch import Tensor

Taken = tuple["Tensor", "Tensor | None"]
"""Features: float32 [n, D] and None, or [n, T, D] and token counts [n]."""


class Take(NamedTuple):
    """What is taken from a forward pass; one view of the model.

    Attributes
    ----------
    layer
        0 is the embedding, `n_layers` the last block.
    pooling, strand
        How token vectors become features; which strand is embedded, ``mean`` averages both.
    dtype
        The number type of the result.
    """

    layer: int
    pooling: Pooling
    strand: Strand = "forward"
    dtype: DType = "float16"


class Forward:
    """Runs batches through a model and takes views from them.

    Layers are computed one after the other and let go: what is alive is one layer's hidden states, of both
    strands where both are asked for, and the features taken from it. Layers after the last one asked for are
    not computed.

    Parameters
    ----------
    model
        Loaded, on `device`.
    takes
        The views.
    device
        Where batches are sent.
    precision
        Of the forward pass, as for :func:`resolve_precision`; pooling is done in float32.
    """

    def __init__(
        self, model: GenomicLM, takes: Sequence[Take], device: str, precision: Precision | None
    ) -> None:
        self.model, self.takes, self.device = model, takes, device
        self._bf16 = resolve_precision(precision, model.spec, device) == "bfloat16"

    def strands_of(self, numbers: Sequence[int]) -> list[str]:
        """Return which strands these views need: ``forward``, ``reverse`` or both."""
        wanted = {self.takes[n].strand for n in numbers}
        return [strand for strand in ("forward", "reverse") if wanted & {strand, "mean"}]

    def encode(self, sequences: Sequence[str]) -> Batch:
        """Tokenise sequences into host memory, from where the device can fetch them by itself."""
        batch = self.model.encode(sequences)
        return batch.pinned() if self.device.startswith("cuda") else batch

    def __call__(
        self,
        tokens: Mapping[str, Batch],
        numbers: Sequence[int],
        within: Sequence[tuple[int, int]] | None = None,
    ) -> Iterator[tuple[int, Tensor, Tensor | None]]:
        """Yield the views numbered `numbers`, each as soon as its layer is there.

        Parameters
        ----------
        tokens
            Strand -> tokenised sequences, as :meth:`encode` makes them, for each of :meth:`strands_of`.
        numbers
            Places in `takes`.
        within
            For windows: the nucleotides of each sequence that are averaged, 0-based, half-open.
        """
        batches = {strand: tokens[strand].to(self.device) for strand in self.strands_of(numbers)}
        later: dict[int, list[int]] = {}
        for number in numbers:
            taken = self._direct(self.takes[number], batches)
            if taken is not None:
                yield number, taken, None
            else:
                later.setdefault(self.takes[number].layer, []).append(number)
        if not later:
            return
        streams = {strand: self.model.layers(batch) for strand, batch in batches.items()}
        for layer in range(max(later) + 1):
            # The contexts are left before anything is yielded: they would else hold in the caller's code too.
            with self._computing(autocast=self._bf16):
                hidden = {strand: next(stream) for strand, stream in streams.items()}
            for number in later.get(layer, ()):
                with self._computing(autocast=False):
                    values, counts = self._take(self.takes[number], hidden, batches, within)
                yield number, values, counts
                del values, counts
            del hidden

    def _computing(self, *, autocast: bool) -> ExitStack:
        import torch

        stack = ExitStack()
        stack.enter_context(torch.inference_mode())
        stack.enter_context(exact_float32(self.device))
        stack.enter_context(torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=autocast))
        return stack

    def _direct(self, take: Take, batches: Mapping[str, Batch]) -> Tensor | None:
        """Return [n, D] where the model pools without hidden states."""
        if not isinstance(self.model, DirectPooling):
            return None
        strands = [take.strand] if take.strand != "mean" else ["forward", "reverse"]
        with self._computing(autocast=self._bf16):
            found = [self.model.pooled(batches[s], take.layer, take.pooling) for s in strands]
            values = [f for f in found if f is not None]
            return sum(values[1:], values[0]) / len(values) if len(values) == len(strands) else None

    def _take(
        self,
        take: Take,
        hidden: Mapping[str, Tensor],
        batches: Mapping[str, Batch],
        within: Sequence[tuple[int, int]] | None,
    ) -> Taken:
        if take.strand != "reverse":
            forward = _features(take.pooling, hidden["forward"], batches["forward"], within)
            if take.strand == "forward":
                return forward
        values, counts = _features(take.pooling, hidden["reverse"], batches["reverse"], within)
        if counts is not None:
            values = flip_tokens(values, counts)
        if take.strand == "reverse":
            return values, counts
        if take.pooling == "tokens" and not _mirrored(batches["forward"], batches["reverse"]):
            raise PoolingError(
                f"{self.model.spec.name} cuts the two strands into tokens of different nucleotides, so they "
                "cannot be averaged token by token. Use pooling 'nucleotides' or 'mean', or strand 'forward'."
            )
        return (values + forward[0]) / 2, counts


def _mirrored(forward: Batch, reverse: Batch) -> bool:
    """Tell whether the tokens of the strands, one of them read backwards, stand for the same nucleotides."""
    ours, counts = real_tokens(forward.spans, forward)
    theirs, others = real_tokens(reverse.spans, reverse)
    if not bool((counts == others).all()):
        return False
    # Padding is (0, 0) here and (L, L) there, so only tokens can be the same.
    turned = forward.lengths.view(-1, 1, 1) - flip_tokens(theirs, counts).flip(-1)
    return bool(((ours == turned).all(dim=-1).sum(dim=1) == counts).all())


def _features(
    pooling: Pooling, hidden: Tensor, batch: Batch, within: Sequence[tuple[int, int]] | None
) -> Taken:
    if pooling == "tokens":
        return real_tokens(hidden, batch)
    if pooling == "nucleotides":
        return to_nucleotide(hidden.float(), batch), batch.lengths
    if within is not None:
        return nucleotide_mean(hidden, batch, batch.lengths.new_tensor(within)), None
    return pool(hidden, batch, pooling), None
