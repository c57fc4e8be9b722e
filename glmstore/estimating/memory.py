"""Peak memory of an embedding run: its parts, each of which is counted or was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from glmstore.errors import WeightsError
from glmstore.estimating.architecture import architecture_of
from glmstore.estimating.batches import plan_run
from glmstore.estimating.quantity import Quantity, bytes_text, unknown
from glmstore.extraction.hardware import resolve_precision

if TYPE_CHECKING:
    from glmstore.estimating.calibration import Pass
    from glmstore.estimating.workload import Workload
    from glmstore.models.family import Architecture
    from glmstore.views import Pooling, Strand

PROGRAM = 850_000_000
"""Bytes of a process with torch and LanceDB loaded that has written to a store, on two cores.

It is 570 MB on one machine; another, whose processor has kernels of its own, took 110 MB more for a run.
"""
VIEW, MANY_BATCHES = 90_000_000, 64
"""Bytes that a view of a pass adds at most, reached after so many batches: the vectors that each leaves until
they are committed lie scattered over memory that the next could else have used."""
SEQUENCE, LETTER = 2_000, 2
"""Bytes of a sequence besides its letters (its key, its record, its row on the way), and of each letter."""
ROOM = 1.5
"""Memory over live tensors: what kernels take inside, and what the allocator cannot use again at once."""
ROWS, ROW_COPIES = 1_000_000_000, 4
"""Most that rows on their way into the store take, over all their copies, and how many copies there are."""


class _Batch(NamedTuple):
    size: int
    what: str


def peak_memory(job: Pass, workload: Workload, *, stored: float) -> Quantity:
    """Return the bytes that a run takes on its device at its worst; on CPU with the process itself.

    The sum of the weights in float32; of what the heaviest batch takes beside them
    (:mod:`glmstore.estimating.activations`); and on CPU of the program, the sequences, the views of the pass,
    and rows on their way into the store. On a GPU it is what torch allocates there, without CUDA's own
    context. The batch is one of those that extraction begins with; where it is too large it is halved, so
    less memory makes a run slower before it makes it fail. The file that weights are read from is mapped, and
    does not count.

    Parameters
    ----------
    job
        What is embedded and how.
    workload
        Its sequences.
    stored
        Bytes to be stored.
    """
    if not workload.n:
        return unknown("bytes", "no sequence to embed")
    spec, architecture = job.entry.spec, architecture_of(job.entry)
    batches = plan_run(spec, job.device, workload, windowed=job.pooling == "windowed-mean")
    if architecture is not None:
        sizes = _walked(job, architecture, batches.heaviest, workload)
    elif not spec.n_parameters:
        sizes = [_computed(job, batch) for batch in batches.heaviest]
    else:
        return unknown("bytes", "its network is in a package of its own")
    heaviest = max(sizes, key=lambda batch: batch.size)
    on_host = not job.device.startswith("cuda")
    parts = {
        "weights": 4 * spec.n_parameters,
        f"{heaviest.what} with room for kernels": round(heaviest.size * ROOM),
    }
    if on_host:
        n, scattered = len(job.layers), min(1.0, batches.number / MANY_BATCHES)
        parts |= {
            "the program": PROGRAM,
            _sequences(workload.n): SEQUENCE * workload.n + LETTER * workload.nt,
            f"{n} view{'' if n == 1 else 's'} of the pass": round(VIEW * n * scattered),
            "rows on their way to the store": round(min(ROW_COPIES * stored, ROWS)),
        }
    how = " + ".join(f"{what} {bytes_text(size)}" for what, size in parts.items() if size)
    return Quantity(value=sum(parts.values()), unit="bytes", basis="estimate", how=how)


def _computed(job: Pass, batch: Sequence[str]) -> _Batch:
    """Embed a batch where there is no network to walk: it takes a moment, and tensors are counted alike."""
    from glmstore.estimating.activations import LiveStorage
    from glmstore.extraction.embedding import embed_views

    model = job.entry.load(job.device)
    with LiveStorage() as storage:
        for _ in embed_views(model, batch, job.takes(job.layer), device=job.device):
            pass
    return _Batch(storage.peak, f"a batch of {_sequences(len(batch))}")


def _walked(
    job: Pass, architecture: Architecture, batches: Sequence[Sequence[str]], workload: Workload
) -> list[_Batch]:
    from glmstore.estimating.activations import Walk
    from glmstore.estimating.rehearsal import StandInTokenizer
    from glmstore.models.tokenizers.base import Tokenizer

    walk = Walk(architecture, halves=resolve_precision(None, job.entry.spec, job.device) == "bfloat16")
    stands_in = ""
    try:
        tokenizer: Tokenizer = architecture.tokenizer()
    except WeightsError:
        tokenizer, stands_in = StandInTokenizer(), " at most, its vocabulary is not here"
    found = []
    for batch in batches:
        encoded = tokenizer.encode(batch)
        tokens = encoded.special_mask.shape[1]
        size = walk.peak(
            encoded,
            job.layers,
            masked=workload.longest > int(workload.lengths.min()) or not bool(encoded.attention_mask.all()),
            strands=2 if job.strand == "mean" else 1,
            copies=_copies(job.pooling, job.strand, max(map(len, batch)) / tokens),
        )
        each = f"{tokens:,} tokens each{stands_in}"
        if walk.window is not None:
            each = f"each in a window of {walk.window.length:,} nt"
        found.append(_Batch(size, f"a batch of {_sequences(len(batch))} ({each})"))
    return found


def _copies(pooling: Pooling, strand: Strand, nt_a_token: float) -> float:
    """Return how many float32 copies of a layer's vectors are alive beside it while a view is taken."""
    if pooling in ("tokens", "nucleotides"):
        # Gathered, masked and cast; those of the other strand are turned around beside them.
        one = 4.0 if pooling == "tokens" else 1 + 3 * nt_a_token
        return one if strand == "forward" else 2 * one
    return 3.0


def _sequences(n: int) -> str:
    return f"{n:,} sequence{'' if n == 1 else 's'}"
