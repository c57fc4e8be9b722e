"""One cell of model x benchmark x scorer: a window's variants scored, and set against what was measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import polars as pl
from pydantic import Field

from glmstore.config import Frozen
from glmstore.errors import ScorerError, StaleCellError, VariantError
from glmstore.models.catalogue import get_model
from glmstore.models.kept import KEPT_MODELS
from glmstore.results import Cell, ResultRow
from glmstore.rows import measured_row, prediction_rows
from glmstore.sequences.normalise import seq_key, seq_keys
from glmstore.variants import SCORERS
from glmstore.variants.base import compared_pooling
from glmstore.variants.score import Strands, Tokens, check_variants, embedding_scores, score_element

if TYPE_CHECKING:
    from glmstore.models.spec import ModelSpec
    from glmstore.store import FeatureStore
    from glmstore.variants.base import Scorer
    from glmstore.views import FeatureView, Strand

PROTOCOL = "glmstore"
READ_NUMBERS = 256 * 230 * 96
"""Numbers of stored vectors held at once, 11 MB in float16: 256 windows of 230 x 96; at least one window."""


class ZeroShotSettings(Frozen):
    """Every choice that changes a zero-shot result."""

    layer: int | Literal["mid", "last"] | None = Field(
        "last",
        description="Layer of the vectors; None: the model's default. Not used on masked letters.",
    )
    strands: Strands = Field("forward", description="'both' averages the scores of the two strands.")
    n_resamples: int = Field(1000, ge=100, description="Bootstrap resamples over positions.")


class ZeroShotOutcome(NamedTuple):
    """What a cell gives.

    Attributes
    ----------
    rows
        One result a metric, signed.
    predictions
        One row a variant, with the fields of PredictionRow; the label is what the score is set against: the
        signed effect, or for unsigned scorers its absolute value.
    """

    rows: list[ResultRow]
    predictions: pl.DataFrame


def plan_cell(
    store: FeatureStore, benchmark: str, model: str, scorer: str, settings: ZeroShotSettings
) -> Cell:
    """Return the identity of one scorer's run over one benchmark.

    Raises
    ------
    UnknownNameError
        If model, scorer or benchmark is not known.
    ScorerError
        If the model cannot serve the scorer, or the benchmark is not one of variants.
    LayerError
        If the model has no such layer.
    """
    spec, chosen, bench = get_model(model).spec, SCORERS[scorer], store.benchmark_spec(benchmark)
    chosen.check_serves(spec)
    if bench.label_kind != "variant_effect":
        raise ScorerError(
            f"{benchmark} has {bench.label_kind} labels; zero-shot scores need variant effects."
        )
    view = _view(spec, settings, "forward").name if chosen.needs == "embeddings" else "-"
    return named_cell(store, benchmark, model, scorer, settings, view=view)


def named_cell(
    store: FeatureStore,
    benchmark: str,
    model: str,
    scorer: str,
    settings: ZeroShotSettings,
    *,
    view: str = "-",
) -> Cell:
    """Return the identity of a run without asking whether it can be done; errors for unknown names only."""
    spec = get_model(model).spec
    return Cell(
        benchmark=benchmark,
        benchmark_digest=store.benchmark_digest(benchmark),
        model=spec.name,
        view=view,
        head=scorer,
        protocol=PROTOCOL if settings.strands == "forward" else f"{PROTOCOL}, {settings.strands} strands",
        split=store.benchmark_spec(benchmark).split,
        settings={
            "revision": spec.revision,
            "strands": settings.strands,
            "n_resamples": settings.n_resamples,
        },
    )


def run_cell(
    store: FeatureStore,
    cell: Cell,
    settings: ZeroShotSettings,
    *,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> ZeroShotOutcome:
    """Score every variant of the benchmark and correlate with the measured effects, per locus and signed.

    Scorers on embeddings read the vectors of tokens, or of nucleotides, from the store and embed only the
    windows it lacks, so a second scorer on the same layer computes nothing. A view keeps the compute
    precision of every other view and float16 numbers; against float32 throughout this moves a CAGI5 locus's
    correlations by less than 0.002. Scorers on probabilities compute in float32 and store nothing but their
    scores.

    Parameters
    ----------
    store
        Holds the benchmark; token-level views of the windows are added to it, results are not.
    cell
        From :func:`plan_cell` with the same `settings`.
    settings
        See :class:`ZeroShotSettings`.
    device
        Torch device of the passes that give probabilities.
    progress
        ``progress(done, of)`` in windows embedded.

    Raises
    ------
    ScorerError
        If the benchmark has no reference window, or the model's tokens cannot tell the alleles of a variant
        apart.
    VariantError
        If an item is not a single-letter change of the reference.
    StaleCellError
        If the benchmark is no longer the one the cell was planned for.
    """
    from glmstore.probing import pretraining_overlap
    from glmstore.stats.bootstrap import interval

    started = time.perf_counter()
    if store.benchmark_digest(cell.benchmark) != cell.benchmark_digest:
        raise StaleCellError(f"{cell.benchmark} has changed since this cell was planned; plan it again.")
    scorer, bench = SCORERS[cell.head], store.benchmark_spec(cell.benchmark)
    reference, items = window(store, cell.benchmark)
    if scorer.needs == "embeddings":
        scores = _from_store(store, cell.model, reference, items, scorer, settings, progress)
    else:
        model = KEPT_MODELS.get(get_model(cell.model), device)
        scores = score_element(model, reference, items, scorer, strands=settings.strands)
    labels = items["label"] if scorer.is_signed else items["label"].abs()
    metrics = [*bench.metrics, "pearson_r_abs"] if scorer.is_signed else list(bench.metrics)
    details = {
        "expected_sign": scorer.expected_sign,
        "set_against": scorer.expectation,
        "strands": settings.strands,
        "positions": items["cluster"].n_unique(),
        "seconds": round(time.perf_counter() - started, 2),
    }
    overlap = pretraining_overlap(get_model(cell.model).spec, bench)
    y, clusters = labels.to_numpy(), items["cluster"].to_numpy()
    rows = [
        measured_row(
            cell,
            metric,
            interval(metric, y, scores, clusters, n_resamples=settings.n_resamples),
            n=len(items),
            overlap=overlap,
            details=details,
        )
        for metric in metrics
    ]
    return ZeroShotOutcome(rows, prediction_rows(cell, items.with_columns(label=labels), scores[None]))


def window(store: FeatureStore, benchmark: str) -> tuple[str, pl.DataFrame]:
    """Return the reference window, and the benchmark's items with ``offset`` (0-based), ``ref`` and ``alt``.

    Raises
    ------
    ScorerError
        If the benchmark records no reference window.
    VariantError
        If an item is not a single-letter change of it.
    """
    reference = store.benchmark_facts(benchmark).get("reference")
    if not isinstance(reference, str):
        raise ScorerError(
            f"{benchmark} records no fact 'reference': without the window there is no alternative to it."
        )
    items = store.benchmark_items(benchmark)
    offsets = [_only_difference(reference, *row) for row in items.select("sequence", "item_id").iter_rows()]
    changed = items.with_columns(
        offset=pl.Series(offsets, dtype=pl.Int64),
        ref=pl.Series([reference[i] for i in offsets], dtype=pl.String),
        alt=pl.Series([s[i] for s, i in zip(items["sequence"], offsets, strict=True)], dtype=pl.String),
    )
    check_variants(reference, changed)
    return reference, changed


def _only_difference(reference: str, sequence: str, item: str) -> int:
    if len(sequence) != len(reference):
        raise VariantError(f"{item}: its window has {len(sequence)} nt, the reference {len(reference)}.")
    places = [i for i, (a, b) in enumerate(zip(reference, sequence, strict=True)) if a != b]
    if len(places) != 1:
        raise VariantError(
            f"{item}: its window differs from the reference at {len(places)} positions, not at one."
        )
    return places[0]


def _view(spec: ModelSpec, settings: ZeroShotSettings, strand: Strand) -> FeatureView:
    return spec.view(layer=settings.layer, pooling=compared_pooling(spec), strand=strand)


def _from_store(
    store: FeatureStore,
    model: str,
    reference: str,
    items: pl.DataFrame,
    scorer: Scorer,
    settings: ZeroShotSettings,
    progress: Callable[[int, int], None] | None,
) -> np.ndarray:
    from glmstore.extraction import materialize

    spec = get_model(model).spec
    sequences = items["sequence"].to_list()
    strands: tuple[Strand, ...] = ("forward",) if settings.strands == "forward" else ("forward", "reverse")
    scores = []
    for strand in strands:
        view = _view(spec, settings, strand)
        materialize(store, model, [reference, *sequences], view=view, progress=progress)
        read = store.read(view, [seq_key(reference)])
        tokens = read.values[0] if read.lengths is None else read.values[0, : int(read.lengths[0])]
        scores.append(
            embedding_scores(scorer, tokens, _stored(store, view, seq_keys(sequences), tokens.size), items)
        )
    return np.asarray(np.mean(scores, axis=0))


def _stored(store: FeatureStore, view: FeatureView, keys: list[str], size: int) -> Iterator[Tokens]:
    rows = max(1, READ_NUMBERS // size)
    for start in range(0, len(keys), rows):
        part = store.read(view, keys[start : start + rows])
        yield np.arange(start, start + len(part.values)), part.values, part.lengths
