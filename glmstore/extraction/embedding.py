"""From sequences to features, in batches of about equal cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from glmstore.errors import NonFiniteFeatureError, PoolingError
from glmstore.extraction.hardware import Precision, resolve_device, resolve_precision
from glmstore.models.base import DirectPooling, GenomicLM
from glmstore.models.encoding import check_lengths
from glmstore.models.pooling import flip_tokens, pool, real_tokens
from glmstore.sequences.onehot import reverse_complement
from glmstore.views import DType, Pooling, Strand

if TYPE_CHECKING:
    from torch import Tensor

Progress = Callable[[int, int], None]

BATCH_NT = 16_384
"""Padded nucleotides a batch: large enough to keep the cores busy, small enough to stay in cache."""


class Chunk(NamedTuple):
    """Features of some of the sequences.

    Attributes
    ----------
    indices
        int64 [n], places in the list that was given.
    values
        [n, D], or for token views [n, T, D], zero-padded on the right.
    lengths
        int32 [n], token counts; None for pooled views.
    """

    indices: np.ndarray
    values: np.ndarray
    lengths: np.ndarray | None


def plan_batches(lengths: Sequence[int], budget: int = BATCH_NT) -> list[np.ndarray]:
    """Cut sequences, sorted by length, into batches of at most `budget` padded nucleotides.

    Returns
    -------
    list of int64 arrays
        Places in `lengths`, each once; a sequence longer than the budget is a batch of its own.
    """
    order = np.argsort(np.asarray(lengths), kind="stable")
    batches, start = [], 0
    for end in range(1, len(order) + 1):
        full = end < len(order) and (end + 1 - start) * lengths[order[end]] > budget
        if full or end == len(order):
            batches.append(order[start:end])
            start = end
    return batches


def embed(
    model: GenomicLM,
    sequences: Sequence[str],
    *,
    layer: int,
    pooling: Pooling,
    strand: Strand = "forward",
    dtype: DType = "float16",
    precision: Precision = "auto",
    device: str | None = None,
    records: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Iterator[Chunk]:
    """Embed normalised sequences, chunk by chunk, shortest first.

    Parameters
    ----------
    model
        A loaded model.
    sequences
        Over ``ACGTN``.
    layer, pooling, strand, dtype
        The view; ``tokens`` leaves special tokens out.
    precision
        Compute precision; ``auto`` is bfloat16 autocast where the hardware has it.
    device
        Torch device the model lies on; None asks the model.
    records
        What to call each sequence in an error; ``sequence 0``, ``sequence 1``, … when not given.
    progress
        Called with (sequences done, sequences in all) after every chunk.

    Returns
    -------
    iterator of Chunk
        Every index once.

    Raises
    ------
    EmptySequenceError, SequenceTooLongError
        At once, before anything is computed; names the record.
    LayerError, PoolingError
        If the model cannot give that layer or pooling.
    NonFiniteFeatureError
        If a value is not finite, or does not fit `dtype`; names the record.
    """
    if pooling not in model.spec.poolings:
        raise PoolingError(f"{model.spec.name} gives {', '.join(model.spec.poolings)}; not {pooling!r}.")
    lengths = [len(s) for s in sequences]
    check_lengths(model.spec, lengths, records)
    place = device or str(getattr(model, "device", None) or resolve_device())
    run = _Extractor(model, model.spec.resolve_layer(layer), pooling, strand, place, precision)
    return _chunks(run, sequences, plan_batches(lengths), dtype, records, progress)


def _chunks(
    run: _Extractor,
    sequences: Sequence[str],
    batches: list[np.ndarray],
    dtype: DType,
    records: Sequence[str] | None,
    progress: Progress | None,
) -> Iterator[Chunk]:
    done = 0
    for indices in batches:
        values, counts = run([sequences[i] for i in indices])
        cast = _cast(values, dtype, indices, records)
        done += len(indices)
        yield Chunk(indices, cast, counts)
        if progress is not None:
            progress(done, len(sequences))


class _Extractor:
    """Features of one batch of sequences as float32, under fixed choices."""

    def __init__(
        self,
        model: GenomicLM,
        layer: int,
        pooling: Pooling,
        strand: Strand,
        device: str,
        precision: Precision,
    ) -> None:
        self.model, self.layer, self.pooling, self.strand = model, layer, pooling, strand
        self.device = device
        self.bf16 = resolve_precision(precision, model.spec, device) == "bfloat16"
        self._direct = model.pooled if isinstance(model, DirectPooling) else None

    def __call__(self, sequences: list[str]) -> tuple[np.ndarray, np.ndarray | None]:
        """Return [n, D] and None, or [n, T, D] and int32 token counts [n]."""
        import torch

        autocast = torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.bf16)
        with torch.inference_mode(), autocast:
            values, counts = self._strands(sequences)
        return values.cpu().numpy(), None if counts is None else counts.cpu().numpy().astype(np.int32)

    def _strands(self, sequences: list[str]) -> tuple[Tensor, Tensor | None]:
        if self.strand == "forward":
            return self._forward(sequences)
        values, counts = self._forward([reverse_complement(s) for s in sequences])
        if counts is not None:
            values = flip_tokens(values, counts)
        if self.strand == "reverse":
            return values, counts
        other, other_counts = self._forward(sequences)
        if counts is not None and other_counts is not None and not bool((counts == other_counts).all()):
            raise PoolingError(
                f"{self.model.spec.name} cuts the two strands into different numbers of tokens, so they "
                "cannot be averaged token by token. Use pooling 'mean', or strand 'forward'."
            )
        return (values + other) / 2, counts

    def _forward(self, sequences: list[str]) -> tuple[Tensor, Tensor | None]:
        batch = self.model.encode(sequences).to(self.device)
        pooled = self._direct(batch, self.layer, self.pooling) if self._direct else None
        if pooled is not None:
            return pooled, None
        hidden = self.model.hidden_states(batch, self.layer)
        if self.pooling == "tokens":
            return real_tokens(hidden, batch)
        return pool(hidden, batch, self.pooling), None


def _cast(values: np.ndarray, dtype: DType, indices: np.ndarray, records: Sequence[str] | None) -> np.ndarray:
    """Return `values` as `dtype`, refusing what the type cannot hold instead of storing infinity."""
    wrong = ~_fits(values.reshape(len(values), -1), dtype)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        value = values.reshape(len(values), -1)[row, column]
        index = int(indices[row])
        record = records[index] if records is not None else f"sequence {index}"
        raise NonFiniteFeatureError(
            f"{record}: its embedding holds {value}, which {dtype} cannot hold. "
            "Choose dtype float32; if the value is nan or inf, the model overflows: compute in float32."
        )
    return values.astype(dtype)


def _fits(values: np.ndarray, dtype: DType) -> np.ndarray:
    """Return bool of the shape of `values`; False for NaN, which fails every comparison."""
    if dtype == "uint8":
        whole: np.ndarray = (values >= 0) & (values <= 255) & (values == np.trunc(values))
        return whole
    within: np.ndarray = np.abs(values) <= np.finfo(dtype).max
    return within
