"""How fast a model embeds on this device, from a run of a few seconds over sequences of the plan."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from glmstore.errors import GlmstoreError, PlanError
from glmstore.estimating.architecture import architecture_of
from glmstore.estimating.devices import available_memory
from glmstore.extraction.embedding import embed_views
from glmstore.extraction.forward import Take
from glmstore.extraction.hardware import resolve_precision

if TYPE_CHECKING:
    from glmstore.estimating.rehearsal import RehearsedModel
    from glmstore.estimating.workload import Workload
    from glmstore.models.base import GenomicLM, ModelEntry
    from glmstore.views import Pooling, Strand

SECONDS = 2.0
"""What the timed passes aim at; with the warm-up before them a calibration takes about twice as long."""
SAMPLE = 4096
STAND_IN_NT = 400
"""Letters of a sequence that are timed where the vocabulary is missing: within every context window."""
LONGEST_NT = 16_384
"""Letters of a sequence that are timed at most; longer ones are scaled up by length."""
UNDISTURBED = 0.9
"""Processor time over wall time of a pass on CPU; one that got less had to wait for other processes."""
_BUSY_NOTE = "other processes kept the processor busy meanwhile: on a quiet machine it is faster"
_BYTES_A_WEIGHT = 6  # float32, and its bfloat16 copy


@dataclass(frozen=True)
class Calibration:
    """What was timed.

    Attributes
    ----------
    seconds_per_nt
        Of the whole pass up to the layer asked for.
    sequences, nt, seconds
        Of the timed pass.
    factor
        Cost of the layers asked for over that of those timed.
    flops_per_nt
        Floating-point operations of matrix products and convolutions in the whole pass; None: not counted.
    notes
        What was not as it will be: random weights, part of the network, no vocabulary, cut sequences.
    """

    seconds_per_nt: float
    sequences: int
    nt: int
    seconds: float
    factor: float
    flops_per_nt: float | None
    notes: tuple[str, ...]

    @property
    def extrapolated(self) -> bool:
        """Whether less than the whole pass was timed."""
        return self.factor != 1.0


@dataclass(frozen=True)
class Pass:
    """One way of embedding: everything besides the sequences that decides its cost."""

    entry: ModelEntry
    layers: tuple[int, ...]
    pooling: Pooling
    strand: Strand
    device: str

    @property
    def layer(self) -> int:
        """The last layer that is computed."""
        return max(self.layers)

    def takes(self, up_to: int) -> list[Take]:
        """Return the views within the first blocks; that of the last of these where there is none."""
        layers = [layer for layer in self.layers if layer <= up_to] or [up_to]
        return [Take(layer, self.pooling, self.strand, "float32") for layer in layers]


class _OutOfTimeError(Exception):
    """The warm-up has taken long enough; the layers reached by then are those that are timed."""


_Run = Callable[[int], int]


def calibrate(job: Pass, workload: Workload, seconds: float = SECONDS) -> Calibration:
    """Time the extraction itself on a sample of the sequences, with random weights where there is a network.

    A first pass over one sequence goes as deep as a moment and the memory allow; the layers it reached are
    then timed over more sequences, and the rest is scaled up by floating-point operations, every block
    costing what those cost.

    Parameters
    ----------
    job
        What is embedded and how.
    workload
        Sequences, at least one; the sample has their spread of lengths.
    seconds
        About how long the timed passes may take together.

    Raises
    ------
    PlanError
        If the model cannot be built here or does not fit; says why.
    """
    import torch

    try:
        model, notes = _model(job)
        cut = _cut(model, workload.longest)
        if cut is not None:
            notes.append(f"the first {cut:,} nt of longer sequences timed")
        started = time.perf_counter()
        reached, cumulated = _warm_up(model, job, workload, cut, seconds / 2)
        count, took, share = 1, time.perf_counter() - started, 1.0
        nt = one_nt = len(workload.sample(1)[0][:cut])
        if took < 4 * seconds:  # else once was enough
            run = _runner(model, job, reached, workload, cut)
            count, nt, took, share = _grow(run, min(SAMPLE, len(workload.sequences)), seconds)
    except (GlmstoreError, ImportError, MemoryError, torch.OutOfMemoryError) as error:
        raise PlanError(f"not timed: {error}") from error
    factor = 1.0 if reached == job.layer else _scaled(cumulated, job.layer)
    if reached < job.layer:
        notes.append(f"{reached} of {job.layer} blocks timed, the rest scaled up by FLOPs")
    busy = share < UNDISTURBED or os.getloadavg()[0] > (os.cpu_count() or 1)
    if busy and job.device == "cpu" and job.entry.spec.n_parameters:
        notes.append(_BUSY_NOTE)
    flops = cumulated[-1] * factor / one_nt if cumulated and cumulated[-1] else None
    return Calibration(took / nt * factor, count, nt, took, factor, flops, tuple(notes))


def _model(job: Pass) -> tuple[GenomicLM, list[str]]:
    """Return a model to time, and what is to be said about it."""
    architecture = architecture_of(job.entry)
    if architecture is None:
        return job.entry.load(job.device), []
    from glmstore.estimating.rehearsal import RehearsedModel

    model = RehearsedModel(job.entry.spec, architecture, job.device)
    notes = ["random weights of the true shape"]
    if model.stands_in:
        notes.append("its vocabulary is not here: one token a nucleotide timed, more than it will be")
    return model, notes


def _cut(model: GenomicLM, longest: int) -> int | None:
    limit = STAND_IN_NT if getattr(model, "stands_in", False) else LONGEST_NT
    return limit if longest > limit else None


def _runner(model: GenomicLM, job: Pass, layer: int, workload: Workload, cut: int | None) -> _Run:
    """Return ``run(count)``, which embeds that many sequences and returns their nucleotides."""
    precision = resolve_precision(None, job.entry.spec, job.device)

    def run(count: int) -> int:
        sequences = [s[:cut] for s in workload.sample(count)]
        for _ in embed_views(model, sequences, job.takes(layer), precision=precision, device=job.device):
            pass
        return sum(map(len, sequences))

    return run


def _warm_up(
    model: GenomicLM, job: Pass, workload: Workload, cut: int | None, seconds: float
) -> tuple[int, list[float]]:
    """Embed one sequence; return the layer that was reached in time, and the FLOPs up to each till there."""
    if architecture_of(job.entry) is None:
        _runner(model, job, job.layer, workload, cut)(1)
        return job.layer, []
    from torch.utils.flop_counter import FlopCounterMode

    network: RehearsedModel = model  # type: ignore[assignment]  # an architecture is always rehearsed
    counter: Any = FlopCounterMode(display=False)
    deepest = _deepest(job)
    cumulated: list[float] = []
    stop = time.perf_counter() + seconds

    def watch(layer: int) -> None:
        if layer == len(cumulated):  # the second strand goes the same way again
            cumulated.append(float(counter.get_total_flops()))
            if 1 <= layer < deepest and time.perf_counter() > stop:
                raise _OutOfTimeError

    network.watch = watch
    try:
        with counter:
            _runner(network, job, deepest, workload, cut)(1)
    except _OutOfTimeError:
        pass
    finally:
        network.watch = None
    return len(cumulated) - 1, cumulated


def _deepest(job: Pass) -> int:
    """Return the last layer whose weights, with those before it, take half of the free memory at most."""
    a_block = _BYTES_A_WEIGHT * job.entry.spec.n_parameters / (job.entry.spec.n_layers + 1)
    return max(min(1, job.layer), min(job.layer, int(available_memory(job.device) / 2 / max(a_block, 1)) - 1))


def _grow(run: _Run, limit: int, seconds: float) -> tuple[int, int, float, float]:
    """Time ever more sequences, and choose the pass that was disturbed least.

    Returns
    -------
    tuple
        Its sequences, nucleotides and seconds, and the share of these that the processor worked for it.
    """
    passes: list[tuple[int, int, float, float]] = []
    count, spent = 1, 0.0
    while True:
        started, worked = time.perf_counter(), time.process_time()
        nt = run(count)
        took = time.perf_counter() - started
        passes.append((count, nt, took, (time.process_time() - worked) / max(took, 1e-9)))
        spent += took
        if spent >= seconds or count >= limit:
            return min(passes, key=lambda p: p[2] / p[1])
        affordable = int(count * (seconds - spent) / max(took, 1e-6))
        count = min(limit, max(count, min(8 * count, affordable)))


def _scaled(cumulated: list[float], layer: int) -> float:
    """Return the cost up to `layer` over that up to the last layer timed."""
    base, timed, blocks = cumulated[0], cumulated[-1], len(cumulated) - 1
    if timed <= base:
        return layer / blocks
    return (base + (timed - base) / blocks * layer) / timed
