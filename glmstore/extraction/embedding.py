"""From sequences to features: any views of one model in one pass, in batches of about equal cost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from glmstore.errors import DeviceMemoryError, NonFiniteFeatureError
from glmstore.extraction.batching import (
    BatchBudget,
    budget_for,
    free_memory,
    is_out_of_memory,
    plan_batches,
)
from glmstore.extraction.forward import Forward, Take
from glmstore.extraction.hardware import Precision, resolve_device
from glmstore.extraction.landing import Landing, UnfitValue
from glmstore.extraction.windows import Piece, WindowSums, cut
from glmstore.models.base import GenomicLM
from glmstore.models.encoding import check_lengths
from glmstore.views import DType, Pooling, Strand

if TYPE_CHECKING:
    from torch import Tensor

Progress = Callable[[int, int], None]


class Chunk(NamedTuple):
    """Features of some of the sequences.

    Attributes
    ----------
    indices
        int64 [n], places in the list that was given.
    values
        [n, D], or for token-level views [n, T, D], zero-padded on the right.
    lengths
        int32 [n], token counts; None for pooled views.
    """

    indices: np.ndarray
    values: np.ndarray
    lengths: np.ndarray | None


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
    """Embed normalised sequences under one view, chunk by chunk, shortest first.

    Parameters and errors are those of :func:`embed_views`, for the single view of `layer`, `pooling`,
    `strand` and `dtype`.

    Returns
    -------
    iterator of Chunk
        Every index once.
    """
    take = Take(layer, pooling, strand, dtype)
    found = embed_views(
        model,
        sequences,
        [take],
        precision=precision,
        device=device,
        records=records,
        progress=progress,
    )
    return (chunk for _, chunk in found)


def embed_views(
    model: GenomicLM,
    sequences: Sequence[str],
    takes: Sequence[Take],
    *,
    precision: Precision = "auto",
    device: str | None = None,
    records: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[int, Chunk]]:
    """Embed normalised sequences under several views of one model, each batch going through it once.

    Parameters
    ----------
    model
        A loaded model.
    sequences
        Over ``ACGTN``. Longer ones than the model takes are read through windows if every view is
        ``windowed-mean``, and refused if not.
    takes
        The views; ``tokens`` leaves special tokens out.
    precision
        Compute precision; ``auto`` is bfloat16 autocast where the hardware has it.
    device
        Torch device the model lies on; None asks the model.
    records
        What to call each sequence in an error; ``sequence 0``, ``sequence 1``, … when not given.
    progress
        Called with (sequences done, sequences in all) after every batch.

    Returns
    -------
    iterator of (int, Chunk)
        The number of a view in `takes`, and features under it: for each view every index once. Views of one
        layer come before those of the next, batch by batch, and nothing that was given out is kept.

    Raises
    ------
    EmptySequenceError, SequenceTooLongError
        At once, before anything is computed; names the record.
    LayerError, PoolingError
        If the model cannot give that layer or pooling.
    NonFiniteFeatureError
        If a value is not finite, or does not fit the view's number type; names the record.
    DeviceMemoryError
        If a single sequence does not fit into memory. Batches that do not are halved, and the smaller size
        is remembered.
    """
    spec = model.spec
    for take in takes:
        spec.require_pooling(take.pooling)
    takes = [take._replace(layer=spec.resolve_layer(take.layer)) for take in takes]
    windowed = all(take.pooling == "windowed-mean" for take in takes)
    lengths = [len(s) for s in sequences]
    check_lengths(spec, lengths, records, windowed=windowed)
    place = device or str(getattr(model, "device", None) or resolve_device())
    size = spec.max_nt if windowed and max(lengths, default=0) > (spec.max_nt or 0) else None
    run = _Run(
        forward=Forward(model, takes, place, precision),
        sequences=sequences,
        lengths=lengths,
        pieces=cut(lengths, size),
        windowed=size is not None,
        budget=budget_for(spec, place),
        records=records,
    )
    return run.chunks(progress)


@dataclass
class _Run:
    """One call of :func:`embed_views`."""

    forward: Forward
    sequences: Sequence[str]
    lengths: Sequence[int]
    pieces: Sequence[Piece]
    windowed: bool
    budget: BatchBudget
    records: Sequence[str] | None

    def chunks(self, progress: Progress | None) -> Iterator[tuple[int, Chunk]]:
        """Yield what has landed; on a GPU, one result is on its way while the next layers are computed."""
        sums = WindowSums(self.pieces, self.lengths)
        ahead = 1 if self.forward.device.startswith("cuda") else 0
        flying: deque[tuple[int, np.ndarray, Landing | None]] = deque()
        finished = 0
        for step in self._batches():
            flying.append(step)
            del step  # else what has landed would stay in memory while the next layers are computed
            while len(flying) > ahead:
                finished += yield from self._landed(sums, *flying.popleft(), finished, progress)
        while flying:
            finished += yield from self._landed(sums, *flying.popleft(), finished, progress)

    def _batches(self) -> Iterator[tuple[int, np.ndarray, Landing | None]]:
        """Yield (view, places of pieces, features on their way); a Landing of None ends a batch."""
        everything = tuple(range(len(self.forward.takes)))
        for planned in plan_batches([p.end - p.start for p in self.pieces], self.budget):
            todo = [(planned, everything)]
            while todo:
                places, numbers = todo.pop()
                taken: set[int] = set()
                try:
                    for number, values, counts in self._passed(places, numbers):
                        # Windows are put together in float32 before they are cast.
                        dtype: DType = "float32" if self.windowed else self.forward.takes[number].dtype
                        landing = [Landing(values, counts, dtype)]
                        del values, counts
                        taken.add(number)
                        yield number, places, landing.pop()
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                    problem = str(error).partition("\n")[0]
                else:
                    yield -1, places, None
                    continue
                # Only here, past the `except`, are the tensors of the failed pass free.
                todo += self._halved(places, tuple(n for n in numbers if n not in taken), problem)

    def _passed(
        self, places: np.ndarray, numbers: Sequence[int]
    ) -> Iterator[tuple[int, Tensor, Tensor | None]]:
        pieces = [self.pieces[p] for p in places]
        texts = {
            strand: [piece.text(self.sequences[piece.record], strand) for piece in pieces]
            for strand in self.forward.strands_of(numbers)
        }
        own = [(p.own_start - p.start, p.own_end - p.start) for p in pieces] if self.windowed else None
        return self.forward(texts, numbers, own)

    def _halved(
        self, places: np.ndarray, numbers: tuple[int, ...], problem: str
    ) -> list[tuple[np.ndarray, tuple[int, ...]]]:
        """Return two smaller batches, the first to be done last."""
        device, longest = self.forward.device, max(self.pieces[p].end - self.pieces[p].start for p in places)
        free_memory(device)
        if len(places) == 1:
            raise DeviceMemoryError(
                f"{self._record(self.pieces[places[0]].record)}: {longest} nt alone do not go through "
                f"{self.forward.model.spec.name} in the memory of {device} ({problem}). Choose a device with "
                "more memory, a smaller model, or shorter sequences."
            )
        self.budget.shrink(len(places) * longest // 2)
        middle = (len(places) + 1) // 2
        return [(places[middle:], numbers), (places[:middle], numbers)]

    def _landed(
        self,
        sums: WindowSums,
        number: int,
        places: np.ndarray,
        landing: Landing | None,
        finished: int,
        progress: Progress | None,
    ) -> Generator[tuple[int, Chunk], None, int]:
        """Yield the chunk that has landed, if it completes any sequence; return how many a batch finished."""
        if landing is not None:
            chunk = self._chunk(sums, number, places, landing)
            if len(chunk.indices):
                yield number, chunk
            return 0
        count = sum(self._ends(self.pieces[p]) for p in places)
        if progress is not None:
            progress(finished + count, len(self.sequences))
        return count

    def _chunk(self, sums: WindowSums, number: int, places: np.ndarray, landing: Landing) -> Chunk:
        dtype, indices = self.forward.takes[number].dtype, np.array([self.pieces[p].record for p in places])
        try:
            values, counts = landing.wait()
            if self.windowed:
                indices, whole = sums.add(number, places, values)
                values, _ = _cast(whole, dtype)
        except UnfitValue as unfit:
            raise NonFiniteFeatureError(
                f"{self._record(indices[unfit.row])}: its embedding holds {unfit.value}, which {dtype} "
                "cannot hold. Choose dtype float32; if the value is nan or inf, the model overflows: "
                "compute in float32."
            ) from None
        return Chunk(indices, values, counts)

    def _ends(self, piece: Piece) -> bool:
        return piece.own_end == self.lengths[piece.record]

    def _record(self, index: int) -> str:
        return self.records[index] if self.records is not None else f"sequence {index}"


def _cast(values: np.ndarray, dtype: DType) -> tuple[np.ndarray, np.ndarray | None]:
    import torch

    return Landing(torch.from_numpy(values), None, dtype).wait()
