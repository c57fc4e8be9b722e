"""A benchmark out of a user's own table."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from glmstore.benchmarks.base import SPLITS, Benchmark, BenchmarkData, BenchmarkSpec, LabelKind, Source
from glmstore.data.fetch import sha256_of
from glmstore.data.items import make_items
from glmstore.data.leakage import leakage_facts, leakage_report
from glmstore.data.readers import Table, read_table
from glmstore.data.splits import hash_split, homology_clusters, homology_split
from glmstore.errors import DuplicateNameError, LabelError, TableError
from glmstore.sequences.normalise import seq_keys

log = logging.getLogger(__name__)

_PART_OF = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}
_FEW_LEVELS = 10
"""Whole numbers that labels take, up to which they may have been meant for classes."""
_METRICS = {"regression": ("pearson_r", "spearman_rho", "r2"), "binary": ("auroc", "auprc", "mcc")}


def benchmark_from_table(
    path: str | Path,
    *,
    sequence: str = "sequence",
    label: str = "label",
    split: str | None = None,
    kind: Literal["auto", "regression", "binary"] = "auto",
    ambiguous: Literal["refuse", "N"] = "refuse",
    name: str | None = None,
) -> Benchmark:
    """Return a benchmark named after a CSV or TSV file, with one item a distinct sequence.

    Rows of one sequence become one item: with numbers for labels their mean, with 0/1 labels the label they
    share. A sequence that a split column puts into two parts is an error, for what is tested on would have
    been trained on; reverse complements and near duplicates across parts are counted in the facts. Items are
    resampled together by homology cluster under ``split="homology"``, else each by itself.

    Parameters
    ----------
    path
        ``.csv``, ``.tsv`` or ``.txt`` with a header, plain or gzip-compressed.
    sequence, label
        Names of the columns.
    split
        A column with train, valid (or validation, val, dev) and test; or ``"hash"`` (also when None) for
        80/10/10 by content key; or ``"homology"`` for 80/10/10 by homology cluster. A column of that name
        goes first.
    kind
        ``"auto"`` takes labels that are all 0 or 1 for binary ones.
    ambiguous
        ``"N"`` reads IUPAC codes as N; ``"refuse"`` raises.
    name
        What the benchmark is called, of letters, digits, ``_``, ``.`` and ``-``; None: as the file.

    Raises
    ------
    TableError
        If the file cannot be read, the name holds other characters, the split is unusable or a sequence is in
        two parts, or a part is empty.
    UnknownNameError
        If a column is not there.
    LabelError
        If a label is missing, not finite, neither 0 nor 1 where binary ones are asked for, or contradicted,
        or if a part has only one.
    EmptySequenceError, AlphabetError
        If a sequence cannot be used.
    DuplicateNameError
        If a benchmark that comes with the package has this name.
    """
    table = read_table(path)
    _refuse_name(table, _stem(table) if name is None else name)
    sequences = table.sequences(sequence, ambiguous=ambiguous)
    labels = table.numbers(label)
    chosen = _kind(table, label, labels, kind)
    parts = _parts(table, split) if split is not None and split in table.frame.columns else None
    items_of = defaultdict(list)
    for row, one in enumerate(sequences):
        items_of[one].append(row)
    for rows in items_of.values():
        _refuse_contradictions(table, rows, labels if chosen == "binary" else None, label, parts, split)
    if chosen == "regression":
        _note_averages(table, items_of, labels, label)
        if kind == "auto":
            _note_classes(table, labels, label)
    data = _data(table, items_of, labels, parts, split)
    spec = _spec(table, data, chosen, label, split if parts is None else f"column {split!r}")
    if name is not None:
        spec = spec.model_copy(update={"name": name})
    return Benchmark(spec=spec, load=lambda _fetcher: data)


def _stem(table: Table) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", table.path.name.split(".")[0])


def _refuse_name(table: Table, name: str) -> None:
    from glmstore.benchmarks import BENCHMARKS

    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) is None:
        raise TableError(f"{name!r} cannot name a benchmark: use letters, digits, '_', '.' and '-'.")
    if name in BENCHMARKS:
        raise DuplicateNameError(
            f"{table.path.name}: {name!r} is a benchmark that comes with glmstore. Give this one another "
            f"name (--name)."
        )


def _kind(
    table: Table, label: str, labels: NDArray[np.float64], kind: Literal["auto", "regression", "binary"]
) -> LabelKind:
    if len(np.unique(labels)) < 2:
        raise LabelError(
            f"{table.path.name}, column {label!r}: every label is {labels[0]:g}; nothing to learn."
        )
    odd = np.flatnonzero(~np.isin(labels, (0, 1)))
    if odd.size and kind == "binary":
        raise LabelError(f"{table.where(int(odd[0]), label)}: {labels[odd[0]]:g} is neither 0 nor 1.")
    return "regression" if odd.size or kind == "regression" else "binary"


def _note_averages(
    table: Table, items_of: dict[str, list[int]], labels: NDArray[np.float64], label: str
) -> None:
    """Say how many sequences stand in several rows that do not agree."""
    differing = [rows[0] for rows in items_of.values() if np.ptp(labels[rows]) > 0]
    if differing:
        log.warning(
            "sequences with several rows whose labels differ, which get the mean: %d, the first %s",
            len(differing),
            table.where(differing[0], label),
        )


def _note_classes(table: Table, labels: NDArray[np.float64], label: str) -> None:
    """Say that labels which look like numbers of classes are taken for quantities."""
    levels = np.unique(labels)
    if len(levels) <= _FEW_LEVELS and np.array_equal(levels, np.rint(levels)):
        log.warning(
            "%s, column %r: the labels %s are read as quantities (regression); two classes would be 0 and 1",
            table.path.name,
            label,
            ", ".join(f"{level:g}" for level in levels),
        )


def _parts(table: Table, split: str) -> list[str]:
    parts = []
    for row, text in enumerate(table.column(split)):
        part = _PART_OF.get(text.strip().lower())
        if part is None:
            raise TableError(f"{table.where(row, split)}: {text!r} is none of {', '.join(_PART_OF)}.")
        parts.append(part)
    return parts


def _refuse_contradictions(
    table: Table,
    rows: list[int],
    binary_labels: NDArray[np.float64] | None,
    label: str,
    parts: list[str] | None,
    split: str | None,
) -> None:
    first = rows[0]
    for row in rows[1:]:
        if binary_labels is not None and binary_labels[row] != binary_labels[first]:
            raise LabelError(
                f"{table.where(row, label)}: {binary_labels[row]:g}, but line {table.lines[first]} gives the "
                f"same sequence {binary_labels[first]:g}. Remove one of them, or pass kind='regression' "
                "to take the mean."
            )
        if parts is not None and parts[row] != parts[first]:
            raise TableError(
                f"{table.where(row, str(split))}: the sequence is in {parts[row]!r}, but line "
                f"{table.lines[first]} has it in {parts[first]!r}. Keep it in one part, or use split='hash'."
            )


def _data(
    table: Table,
    items_of: dict[str, list[int]],
    labels: NDArray[np.float64],
    parts: list[str] | None,
    split: str | None,
) -> BenchmarkData:
    sequences = list(items_of)
    clusters = homology_clusters(sequences) if parts is None and split == "homology" else None
    if parts is not None:
        assigned = [parts[rows[0]] for rows in items_of.values()]
    elif clusters is not None:
        assigned = homology_split(sequences, clusters)
    elif split in {None, "hash"}:
        assigned = hash_split(seq_keys(sequences))
    else:
        raise TableError(
            f"{table.path.name}: split {split!r} is neither 'hash', 'homology' nor one of the columns "
            f"{', '.join(table.frame.columns)}."
        )
    empty = [part for part in SPLITS if part not in assigned]
    if empty:
        raise TableError(
            f"{table.path.name}: no item is in {' or '.join(empty)} ({len(sequences)} distinct sequences). "
            "Give more rows, or a split column with train, valid and test."
        )
    items = make_items(
        [f"line{table.lines[rows[0]]}" for rows in items_of.values()],
        sequences,
        np.array([labels[rows].mean() for rows in items_of.values()]),
        assigned,
        None if clusters is None else [f"cluster{number}" for number in clusters],
    )
    _refuse_level_parts(table, items)
    facts: dict[str, float | int | str] = {
        "rows": len(table),
        "duplicates_merged": len(table) - len(sequences),
        **leakage_facts(leakage_report(sequences, assigned)),
    }
    return BenchmarkData(items, facts)


def _refuse_level_parts(table: Table, items: pl.DataFrame) -> None:
    for part in SPLITS:
        labels = items.filter(pl.col("split") == part)["label"]
        if labels.n_unique() < 2:
            raise LabelError(
                f"{table.path.name}: every label in {part} is {labels[0]:g} ({len(labels)} items), so "
                "nothing can be learned, chosen or judged there. Give more rows, or another split."
            )


def _spec(table: Table, data: BenchmarkData, kind: LabelKind, label: str, split: str | None) -> BenchmarkSpec:
    lengths = data.items["sequence"].str.len_chars().unique()
    return BenchmarkSpec(
        name=_stem(table),
        title=table.path.name,
        family="own table",
        label_kind=kind,
        label=label,
        metrics=_METRICS[kind],
        split=f"{split or 'hash'} 80/10/10" if split in {None, "hash", "homology"} else split,
        sequence_length=int(lengths[0]) if len(lengths) == 1 else None,
        organism="not given",
        sources=(
            Source(url=table.path.resolve().as_uri(), sha256=sha256_of(table.path), licence="the owner's"),
        ),
        citation="none: a user's own table",
    )
