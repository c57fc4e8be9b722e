"""The work of one extraction: batches go in, chunks of every view come out, in as much memory as there is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from glmstore import metering
from glmstore.errors import DeviceMemoryError, NonFiniteFeatureError
from glmstore.extraction.batching import BatchBudget, free_memory, is_out_of_memory, plan_batches
from glmstore.extraction.forward import Forward
from glmstore.extraction.hardware import lookahead
from glmstore.extraction.landing import Landing, UnfitValue
from glmstore.extraction.windows import Piece, WindowSums
from glmstore.models.base import Batch
from glmstore.views import DType

Progress = Callable[[int, int], None]
_Tokens = Callable[[], dict[str, Batch]]


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


class _Step(NamedTuple):
    """A view of a batch on its way to the host; a landing of None marks the end of a batch."""

    number: int
    places: np.ndarray
    landing: Landing | None


@dataclass
class Run:
    """One call of :func:`~glmstore.extraction.embed_views`: its batches, one after the other.

    Attributes
    ----------
    forward
        Takes the views from a batch.
    sequences, lengths
        What is embedded, and the nucleotides of each.
    pieces
        What goes through the model: the sequences, or windows of them.
    windowed
        Whether pieces are windows.
    budget
        How large a batch may be.
    records
        What to call each sequence in an error; None: by number.
    """

    forward: Forward
    sequences: Sequence[str]
    lengths: Sequence[int]
    pieces: Sequence[Piece]
    windowed: bool
    budget: BatchBudget
    records: Sequence[str] | None

    def chunks(self, progress: Progress | None) -> Iterator[tuple[int, Chunk]]:
        """Yield what has landed, view by view and batch by batch.

        On a GPU the next batch is tokenised, and the next result under way, while one is computed.
        """
        sums = WindowSums(self.pieces, self.lengths)
        depth = lookahead(self.forward.device)
        flying: deque[_Step] = deque()
        finished = 0
        for step in self._steps(depth):
            flying.append(step)
            del step  # else what has landed would stay in memory while the next layers are computed
            while sum(waiting.landing is not None for waiting in flying) > depth:
                finished += yield from self._landed(sums, flying.popleft(), finished, progress)
            while flying and flying[0].landing is None:
                finished += yield from self._landed(sums, flying.popleft(), finished, progress)
        while flying:
            finished += yield from self._landed(sums, flying.popleft(), finished, progress)

    def _steps(self, depth: int) -> Iterator[_Step]:
        everything = tuple(range(len(self.forward.takes)))
        for planned, encoded in self._tokenised(everything, depth):
            todo = [(planned, everything, encoded)]
            del encoded
            while todo:
                places, numbers, tokens = todo.pop()
                taken: set[int] = set()
                try:
                    own = [self.pieces[p].own for p in places] if self.windowed else None
                    for number, values, counts in self.forward(tokens(), numbers, own):
                        # Windows are put together in float32 before they are cast.
                        dtype: DType = "float32" if self.windowed else self.forward.takes[number].dtype
                        landing = [Landing(values, counts, dtype)]
                        del values, counts
                        taken.add(number)
                        yield _Step(number, places, landing.pop())
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                    problem = str(error).partition("\n")[0]
                else:
                    yield _Step(-1, places, None)
                    continue
                # Only here, past the `except`, are the tensors of the failed pass free.
                left = tuple(n for n in numbers if n not in taken)
                halves = self._halves(places, problem)
                todo += [(half, left, partial(self._encode, half, left)) for half in halves]

    def _tokenised(self, numbers: Sequence[int], depth: int) -> Iterator[tuple[np.ndarray, _Tokens]]:
        """Yield planned batches and how to get their tokens; `depth` of them are made in a thread ahead."""
        planned = plan_batches([p.end - p.start for p in self.pieces], self.budget)
        if depth == 0:
            yield from ((places, partial(self._encode, places, numbers)) for places in planned)
            return
        with ThreadPoolExecutor(1) as thread:
            queue: deque[tuple[np.ndarray, _Tokens]] = deque()
            for places in planned:
                queue.append((places, thread.submit(self._encode, places, numbers).result))
                if len(queue) > depth:
                    yield queue.popleft()
            yield from queue

    def _encode(self, places: np.ndarray, numbers: Sequence[int]) -> dict[str, Batch]:
        pieces = [self.pieces[p] for p in places]
        return {
            strand: self.forward.encode([p.text(self.sequences[p.record], strand) for p in pieces])
            for strand in self.forward.strands_of(numbers)
        }

    def _halves(self, places: np.ndarray, problem: str) -> list[np.ndarray]:
        """Return two smaller batches, the first to be done last."""
        device, longest = self.forward.device, max(self.pieces[p].end - self.pieces[p].start for p in places)
        free_memory(device)
        if len(places) == 1:
            raise DeviceMemoryError(
                f"{self._name(self.pieces[places[0]].record)}: {longest} nt alone do not go through "
                f"{self.forward.model.spec.name} in the memory of {device} ({problem}). Choose a device with "
                "more memory, a smaller model, or shorter sequences."
            )
        self.budget.shrink(len(places) * longest // 2)
        middle = (len(places) + 1) // 2
        return [places[middle:], places[:middle]]

    def _landed(
        self, sums: WindowSums, step: _Step, finished: int, progress: Progress | None
    ) -> Generator[tuple[int, Chunk], None, int]:
        """Yield the chunk that has landed, if it completes any sequence; return how many a batch finished."""
        if step.landing is not None:
            chunk = self._chunk(sums, step, step.landing)
            if len(chunk.indices):
                yield step.number, chunk
            return 0
        ended = [self.pieces[p] for p in step.places if self._ends(self.pieces[p])]
        metering.sequences_embedded(self.forward.model.spec.name, len(ended))
        if progress is not None:
            progress(finished + len(ended), len(self.sequences))
        return len(ended)

    def _chunk(self, sums: WindowSums, step: _Step, landing: Landing) -> Chunk:
        dtype = self.forward.takes[step.number].dtype
        indices = np.array([self.pieces[p].record for p in step.places])
        try:
            values, counts = landing.wait()
            if self.windowed:
                indices, whole = sums.add(step.number, step.places, values)
                values, _ = _cast(whole, dtype)
        except UnfitValue as unfit:
            raise NonFiniteFeatureError(
                f"{self._name(indices[unfit.row])}: its embedding holds {unfit.value}, which {dtype} "
                "cannot hold. Choose dtype float32; if the value is nan or inf, the model overflows: "
                "compute in float32."
            ) from None
        return Chunk(indices, values, counts)

    def _ends(self, piece: Piece) -> bool:
        return piece.own_end == self.lengths[piece.record]

    def _name(self, record: int) -> str:
        return self.records[record] if self.records is not None else f"sequence {record}"


def _cast(values: np.ndarray, dtype: DType) -> tuple[np.ndarray, np.ndarray | None]:
    import torch

    return Landing(torch.from_numpy(values), None, dtype).wait()
