"""One cell of model x benchmark: LoRA fine-tuning, judged on the test items."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from glmstore.errors import HeadError, StaleCellError
from glmstore.finetuning.saving import Origin, load_finetuned, read_manifest, save_finetuned
from glmstore.models.catalogue import get_model
from glmstore.models.kept import KEPT_MODELS
from glmstore.results import Cell, ResultRow
from glmstore.rows import measured_row, prediction_rows

if TYPE_CHECKING:
    from glmstore.benchmarks.base import BenchmarkSpec
    from glmstore.finetuning.adapter import TunedModel
    from glmstore.finetuning.saving import Manifest
    from glmstore.finetuning.settings import FineTuneSettings
    from glmstore.heads.base import TrainedKind
    from glmstore.store import FeatureStore
    from glmstore.workspace import Workspace

HEAD_NAME = "lora"
PROTOCOL = "glmstore"


class FineTuneOutcome(NamedTuple):
    """What a cell gives.

    Attributes
    ----------
    rows
        One result a metric.
    predictions
        One row a test item and seed, with the fields of PredictionRow.
    adapters
        One folder a seed, in the order of the seeds.
    """

    rows: list[ResultRow]
    predictions: pl.DataFrame
    adapters: list[Path]


def plan_cell(store: FeatureStore, benchmark: str, model: str, settings: FineTuneSettings) -> Cell:
    """Return the identity of a fine-tuning run.

    Raises
    ------
    UnknownNameError
        If the model or the benchmark is not known.
    HeadError
        If the model takes no LoRA, or the benchmark has nothing to train on.
    LayerError
        If the model has no such layer.
    """
    spec, bench = get_model(model).spec, store.benchmark_spec(benchmark)
    if spec.lora_targets is None:
        raise HeadError(f"{model} cannot be fine-tuned: it has no layers for LoRA.")
    _trained_kind(bench)
    choices = settings.model_dump(mode="json", exclude={"seeds"})
    layer = spec.resolve_layer(settings.layer)
    choices |= {"layer": layer, "revision": spec.revision}
    other_layer = [] if layer == spec.default_layer else [f"layer {layer}"]
    choices["features"] = "standardised on training sequences"
    return Cell(
        benchmark=benchmark,
        benchmark_digest=store.benchmark_digest(benchmark),
        model=spec.name,
        view="-",
        head=HEAD_NAME,
        protocol=", ".join([PROTOCOL, *settings.departures(), *other_layer]),
        split=bench.split,
        seeds=settings.seeds,
        settings=choices,
    )


def adapter_name(cell: Cell, seed: int) -> str:
    """Return the name of the folder that a cell's adapter of one seed lies in."""
    model = re.sub(r"[^A-Za-z0-9]+", "-", cell.model).strip("-")
    return f"{model}-{cell.benchmark}-{cell.key[:8]}-seed{seed}"


def adapter_names(cell: Cell) -> list[str]:
    """Return the names of a cell's adapters, in the order of its seeds."""
    return [adapter_name(cell, seed) for seed in cell.seeds]


def forget_adapters(cell: Cell, beside: Workspace) -> None:
    """Delete the adapters of a cell, so that the next :func:`run_cell` trains them again."""
    for name in adapter_names(cell):
        beside.forget("adapters", name)


def run_cell(
    store: FeatureStore,
    cell: Cell,
    settings: FineTuneSettings,
    adapters: Path,
    *,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> FineTuneOutcome:
    """Train, save and judge one adapter a seed; one that is saved already is loaded, not trained again.

    Parameters
    ----------
    store
        Holds the benchmark. Nothing is written to it.
    cell
        From :func:`plan_cell` with the same `settings`.
    settings
        See :class:`FineTuneSettings`.
    adapters
        Folder that the adapters are saved in, each under :func:`adapter_name`.
    device
        Torch device.
    progress
        ``progress(done, of)`` in training sequences over all seeds.

    Raises
    ------
    HeadError
        If the items do not suit training.
    WeightsError
        If a saved adapter is not what was trained, or cannot be written.
    StaleCellError
        If the benchmark is no longer the one the cell was planned for.
    """
    from glmstore.finetuning.train import part_of
    from glmstore.probing import pretraining_overlap
    from glmstore.stats.bootstrap import interval

    bench = store.benchmark_spec(cell.benchmark)
    if store.benchmark_digest(cell.benchmark) != cell.benchmark_digest:
        raise StaleCellError(f"{cell.benchmark} has changed since this cell was planned; plan it again.")
    kind = _trained_kind(bench)
    items = store.benchmark_items(cell.benchmark)
    test = items.filter(pl.col("split") == "test")
    folders, manifests, predicted = [], [], []
    for number, seed in enumerate(cell.seeds):
        folder = adapters / adapter_name(cell, seed)
        tuned = _tuned(
            cell, items, kind, settings, seed, folder, device, part_of(progress, number, len(cell.seeds))
        )
        folders.append(folder)
        manifests.append(read_manifest(folder))
        predicted.append(tuned.predict(test["sequence"].to_list()))
    prediction = np.stack(predicted)
    y, clusters = test["label"].to_numpy(), test["cluster"].to_numpy()
    overlap, details = pretraining_overlap(get_model(cell.model).spec, bench), _details(manifests, folders)
    rows = [
        measured_row(
            cell,
            metric,
            interval(metric, y, prediction, clusters, n_resamples=settings.n_resamples),
            n=len(test),
            overlap=overlap,
            details=details,
        )
        for metric in bench.metrics
    ]
    return FineTuneOutcome(rows, prediction_rows(cell, test, prediction), folders)


def _trained_kind(bench: BenchmarkSpec) -> TrainedKind:
    if bench.label_kind == "variant_effect":
        raise HeadError(f"{bench.name} is scored zero-shot; it has no training items for fine-tuning.")
    return bench.label_kind


def _tuned(
    cell: Cell,
    items: pl.DataFrame,
    kind: TrainedKind,
    settings: FineTuneSettings,
    seed: int,
    folder: Path,
    device: str,
    progress: Callable[[int, int], None] | None,
) -> TunedModel:
    if folder.is_dir():
        return load_finetuned(folder, device)
    from glmstore.finetuning.train import Labelled, fine_tune_best, first_by_key

    def part(split: str, limit: int | None) -> Labelled:
        chosen = items.filter(pl.col("split") == split)
        chosen = chosen[first_by_key(chosen["seq_key"].to_list(), limit)]
        return Labelled(chosen["sequence"].to_list(), chosen["label"].to_numpy().astype(np.float64))

    train, valid = part("train", settings.max_train), part("valid", settings.max_valid)
    entry = get_model(cell.model)
    KEPT_MODELS.forget()  # training needs the device's memory, and changes the model: it loads its own
    done, settings = fine_tune_best(
        lambda: entry.load(device), train, valid, kind, settings, seed=seed, progress=progress
    )
    origin = Origin(
        benchmark=cell.benchmark,
        benchmark_digest=cell.benchmark_digest,
        seed=seed,
        settings=settings,
        n_train=len(train.sequences),
        best_epoch=done.best_epoch,
        epochs=tuple(epoch._asdict() for epoch in done.epochs),
    )
    save_finetuned(done.tuned, folder, origin)
    return done.tuned


def _details(manifests: list[Manifest], folders: list[Path]) -> dict[str, Any]:
    return {
        "adapters": [f"lora:{folder.name}" for folder in folders],
        "n_train": manifests[0].origin.n_train,
        "learning_rate": [m.origin.settings.learning_rate for m in manifests],
        "best_epoch": [m.origin.best_epoch for m in manifests],
        "valid_loss": [round(min(e["valid_loss"] for e in m.origin.epochs), 5) for m in manifests],
        "seconds_per_epoch": [round(e["seconds"], 2) for m in manifests for e in m.origin.epochs],
    }
