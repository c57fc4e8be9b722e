"""One cell of model x benchmark x head: planned, trained, judged on the test items once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from glmstore import __version__
from glmstore.errors import HeadError, StaleCellError
from glmstore.heads import HEADS, Head
from glmstore.heads.base import FitData, Fitted
from glmstore.models.catalogue import get_model
from glmstore.probing.data import HeldOut, fit_data, held_out
from glmstore.probing.overlap import pretraining_overlap
from glmstore.probing.settings import ProbeSettings, Tuned
from glmstore.results import Cell, ResultRow
from glmstore.rows import measured_row, prediction_rows

if TYPE_CHECKING:
    from glmstore.benchmarks.base import BenchmarkSpec
    from glmstore.store import FeatureStore, Snapshot
    from glmstore.views import FeatureView


class CellOutcome(NamedTuple):
    """What a cell gives.

    Attributes
    ----------
    rows
        One result a metric, or the one row of a failure.
    predictions
        One row a test item and seed, with the fields of PredictionRow; None of a failure.
    """

    rows: list[ResultRow]
    predictions: pl.DataFrame | None

    def write(self, store: FeatureStore) -> None:
        """Store both, replacing what there was of this cell."""
        store.write_results(self.rows, self.predictions)


def plan_cell(
    store: FeatureStore, benchmark: str, view: FeatureView, head: str, settings: ProbeSettings
) -> Cell:
    """Return the identity of a probe: everything that changes its numbers, and nothing else.

    A head whose probe does not depend on the seed is fitted once, under the first seed. A search is part of
    the identity by its settings, so the cell is known before the search has run.

    Raises
    ------
    UnknownNameError
        If the benchmark or the head is not known.
    """
    entry = HEADS[head]
    repeated = entry.spec.stochastic or settings.permute_labels
    choices = settings.model_dump(mode="json", exclude={"seeds"})
    choices["hyperparameters"] = {**entry.defaults, **(settings.hyperparameters or {})}
    return Cell(
        benchmark=benchmark,
        benchmark_digest=store.benchmark_digest(benchmark),
        model=view.model,
        view=view.name,
        head=head,
        protocol=", ".join([entry.spec.protocol, *_departures(entry, settings)]),
        split=store.benchmark_spec(benchmark).split,
        seeds=settings.seeds if repeated else settings.seeds[:1],
        settings={**choices, "view_id": view.view_id},
    )


def _departures(head: Head, settings: ProbeSettings) -> Iterator[str]:
    """Say what departs from the head's own protocol: numbers of different training are never compared."""
    if tune := settings.tune:
        yield f"tuned, {_some(tune.n_trials, 'trial')} of {_some(tune.max_epochs, 'epoch')}"
        if tune.max_train is not None:
            yield f"{tune.max_train:,} training items a trial"
    for name, value in sorted((settings.hyperparameters or {}).items()):
        if head.defaults.get(name) != value:
            yield f"{name} {value}"
    if settings.max_epochs is not None:
        yield f"{_some(settings.max_epochs, 'epoch')} at most"
    if settings.max_train is not None:
        yield f"{settings.max_train:,} training items"
    if settings.permute_labels:
        yield "permuted labels"


def _some(n: int, thing: str) -> str:
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def run_cell(
    store: FeatureStore,
    cell: Cell,
    view: FeatureView,
    *,
    settings: ProbeSettings,
    tuned: Tuned | None = None,
    snapshot: Snapshot | str | None = None,
    save_to: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CellOutcome:
    """Train one probe a seed on the training items, choose on validation, and score the test items.

    Parameters
    ----------
    store
        Holds the benchmark and the features. Nothing is written to it.
    cell, view, settings
        As given to and returned by :func:`plan_cell`.
    tuned
        What the search of ``settings.tune`` found.
    snapshot
        Read the store as of this snapshot; None reads the present. A key of a view has the same vector at any
        time, so both give the same numbers as long as the benchmark has not changed.
    save_to
        Folder that the fitted probes are saved in, as ``<cell key>/seed-<seed>``.
    progress
        ``progress(done, of)`` after every seed.

    Raises
    ------
    HeadError
        If benchmark, view and head do not go together, or the search is missing.
    MissingFeaturesError
        If the view lacks an item.
    StaleCellError
        If the benchmark is no longer the one the cell was planned for.
    """
    source = store.at(snapshot) if snapshot is not None else store
    bench, head = source.benchmark_spec(cell.benchmark), HEADS[cell.head]
    if source.benchmark_digest(cell.benchmark) != cell.benchmark_digest:
        raise StaleCellError(f"{cell.benchmark} has changed since this cell was planned; plan it again.")
    if (settings.tune is None) != (tuned is None):
        raise HeadError(f"cell {cell.key}: a search and what it found go together; run the study first.")
    data = fit_data(source, cell.benchmark, view, max_train=settings.max_train)
    test = held_out(source, cell.benchmark, view, data)
    fits, scores = [], []
    for number, seed in enumerate(cell.seeds, start=1):
        fits.append(_fit(head, data, seed, settings, tuned))
        probe = fits[-1].fitted.probe
        scores.append(probe.predict(test.x))
        if save_to is not None:
            from glmstore.heads.saving import save_probe

            save_probe(probe, save_to / cell.key / f"seed-{seed}")
        if progress is not None:
            progress(number, len(cell.seeds))
    name = snapshot if isinstance(snapshot, str) or snapshot is None else snapshot.name
    details = _details(fits, tuned, data, view, name)
    return _scored(cell, bench, test, np.stack(scores), settings, details)


def failed_outcome(cell: Cell, error: BaseException) -> CellOutcome:
    """Return the outcome of a cell that could not be computed: one row that says why, and no value."""
    row = ResultRow(
        cell_key=cell.key,
        **{name: getattr(cell, name) for name in ("model", "view", "benchmark", "split", "head", "protocol")},
        metric="-",
        value=None,
        ci_low=None,
        ci_high=None,
        n=0,
        seeds=len(cell.seeds),
        control="label" if cell.settings.get("permute_labels") else get_model(cell.model).spec.control,
        status="failed",
        error=f"{type(error).__name__}: {error}",
        details=json.dumps({"benchmark_digest": cell.benchmark_digest}),
        code_version=__version__,
    )
    return CellOutcome([row], None)


class _SeedFit(NamedTuple):
    fitted: Fitted
    seed: int
    seconds: float


def _fit(head: Head, data: FitData, seed: int, settings: ProbeSettings, tuned: Tuned | None) -> _SeedFit:
    if settings.permute_labels:
        from glmstore.stats.permutation import permuted_labels

        data = data._replace(
            y_train=permuted_labels(data.y_train, (seed, 0)), y_valid=permuted_labels(data.y_valid, (seed, 1))
        )
    hyperparameters = (settings.hyperparameters or {}) | (tuned.hyperparameters if tuned else {})
    max_epochs = settings.tune.max_epochs if settings.tune else settings.max_epochs
    started = time.perf_counter()
    fitted = head.fit(data, seed=seed, hyperparameters=hyperparameters, max_epochs=max_epochs)
    return _SeedFit(fitted, seed, time.perf_counter() - started)


def _scored(
    cell: Cell,
    bench: BenchmarkSpec,
    test: HeldOut,
    prediction: np.ndarray,
    settings: ProbeSettings,
    details: dict[str, Any],
) -> CellOutcome:
    from glmstore.stats.bootstrap import interval

    clusters = test.items["cluster"].to_numpy()
    overlap = pretraining_overlap(get_model(cell.model).spec, bench)
    rows = []
    for metric in bench.metrics:
        measured = interval(metric, test.y, prediction, clusters, n_resamples=settings.n_bootstrap)
        row = measured_row(cell, metric, measured, n=len(test.y), overlap=overlap, details=details)
        rows.append(row.model_copy(update={"control": "label"}) if settings.permute_labels else row)
    return CellOutcome(rows, prediction_rows(cell, test.items, prediction))


def _details(
    fits: list[_SeedFit], tuned: Tuned | None, data: FitData, view: FeatureView, snapshot: str | None
) -> dict[str, Any]:
    details: dict[str, Any] = {
        "n_train": len(data.y_train),
        "n_valid": len(data.y_valid),
        "view_id": view.view_id,
        "snapshot": snapshot,
        "probes": [
            {
                "seed": fit.seed,
                "valid_score": round(fit.fitted.valid_score, 5),
                "epochs": fit.fitted.epochs,
                "seconds": round(fit.seconds, 2),
                "chosen": dict(fit.fitted.chosen),
            }
            for fit in fits
        ],
    }
    if tuned is not None:
        found = tuned.model_dump(mode="json")
        details |= {"chosen": found.pop("hyperparameters"), **found}
    return details
