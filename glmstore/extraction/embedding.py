"""From sequences to features: any views of one model in one pass, in batches of about equal cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from glmstore.config import Precision
from glmstore.extraction.batching import budget_for
from glmstore.extraction.forward import Forward, Take
from glmstore.extraction.hardware import resolve_device
from glmstore.extraction.running import Chunk, Progress, Run
from glmstore.extraction.windows import Piece, cut, fitting, too_many_tokens
from glmstore.models.base import GenomicLM
from glmstore.models.encoding import TokenLimited, check_counts, check_lengths
from glmstore.sequences.normalise import require_normalised
from glmstore.views import DType, Pooling, Strand


def embed(
    model: GenomicLM,
    sequences: Sequence[str],
    *,
    layer: int,
    pooling: Pooling,
    strand: Strand = "forward",
    dtype: DType = "float16",
    precision: Precision | None = None,
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
    precision: Precision | None = None,
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
        Over ``ACGTN``. Those of more nucleotides or tokens than the model takes are read through windows if
        every view is ``windowed-mean``, and refused if not.
    takes
        The views; ``tokens`` leaves special tokens out.
    precision
        Compute precision; ``auto`` is bfloat16 autocast where the hardware has it. None: the settings'. In
        bfloat16 a vector depends a little on its batch; see :mod:`glmstore.extraction`.
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
    EmptySequenceError, AlphabetError, SequenceTooLongError
        At once, before anything is computed; names the record.
    LayerError, PoolingError
        If the model cannot give that layer or pooling, or its tokens on the two strands of a sequence, which
        were to be averaged one by one, are of different nucleotides.
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
    require_normalised(sequences, records)
    place = device or str(getattr(model, "device", None) or resolve_device())
    forward = Forward(model, takes, place, precision)
    size = spec.max_nt if windowed and max(lengths, default=0) > (spec.max_nt or 0) else None
    pieces = cut(lengths, size)
    if windowed:
        pieces = fitting(model, pieces, sequences)
    elif isinstance(model, TokenLimited):
        strands = forward.strands_of(range(len(takes)))
        over = too_many_tokens(model, pieces, sequences, strands)
        check_counts(spec, over, model.max_tokens, records)
    return _chunks(forward, sequences, lengths, pieces, records, progress)


def _chunks(
    forward: Forward,
    sequences: Sequence[str],
    lengths: Sequence[int],
    pieces: Sequence[Piece],
    records: Sequence[str] | None,
    progress: Progress | None,
) -> Iterator[tuple[int, Chunk]]:
    """Begin a run when its first chunk is asked for, with what was learnt about memory until then."""
    run = Run(
        forward=forward,
        sequences=sequences,
        lengths=lengths,
        pieces=pieces,
        windowed=len(pieces) > len(sequences),
        budget=budget_for(forward.model.spec, forward.device),
        records=records,
    )
    yield from run.chunks(progress)
