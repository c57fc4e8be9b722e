"""What is counted and timed while the library works, through the OpenTelemetry API.

Without an OpenTelemetry SDK in the process every call here does nothing. `glmstore.exporting` sets one up
that pushes; a program that brings its own gets these metrics with its others. Names and units follow the
OpenTelemetry conventions: dots between words, seconds, bytes (``By``), what is counted in braces. All of them
are listed, with their attributes, in ``infra/metrics.md``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from opentelemetry import metrics

from glmstore import __version__

Kind = Literal["vector", "cell"]

_SECONDS = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 1800, 3600)
"""Bounds between which durations are told apart."""

_meter = metrics.get_meter("glmstore", __version__)
_sequences = _meter.create_counter(
    "glmstore.sequences", "{sequence}", "Sequences that went through a model, once for all its views."
)
_embedding = _meter.create_histogram(
    "glmstore.embedding.duration",
    "s",
    "Wall time in which one model filled its views, loading it and writing included.",
    explicit_bucket_boundaries_advisory=_SECONDS,
)
_rows = _meter.create_counter("glmstore.store.rows", "{row}", "Feature rows that were new to the store.")
_bytes = _meter.create_counter("glmstore.store.io", "By", "Bytes of feature vectors in these rows.")
_items = _meter.create_counter(
    "glmstore.items", "{item}", "Pieces of work that were asked for, by how each was come by."
)
_retries = _meter.create_counter("glmstore.retries", "{retry}", "Tasks that are tried again.")
_lease_waits = _meter.create_histogram(
    "glmstore.lease.wait.duration",
    "s",
    "Time spent waiting for a lease that another process held.",
    explicit_bucket_boundaries_advisory=_SECONDS,
)


def sequences_embedded(model: str, n: int) -> None:
    """Count `n` sequences that went through a model."""
    if n:
        _sequences.add(n, {"model": model})


@contextmanager
def embedding(model: str) -> Iterator[None]:
    """Time a block that fills views of `model`; one that fails is timed too, under its error's class."""
    started, attributes = time.monotonic(), {"model": model}
    try:
        yield
    except BaseException as error:
        attributes["error.type"] = type(error).__name__
        raise
    finally:
        _embedding.record(time.monotonic() - started, attributes)


def rows_written(model: str, rows: int, bytes_each: int) -> None:
    """Count feature rows that are new to the store, of `bytes_each` bytes of vector."""
    if rows:
        _rows.add(rows, {"model": model})
        _bytes.add(rows * bytes_each, {"model": model, "direction": "write"})


def reused(kind: Kind, n: int) -> None:
    """Count vectors or cells that were asked for and found in the store."""
    if n:
        _items.add(n, {"kind": kind, "outcome": "reused"})


def computed(kind: Kind, n: int) -> None:
    """Count vectors or cells that had to be computed, and were."""
    if n:
        _items.add(n, {"kind": kind, "outcome": "computed"})


def failed(kind: Kind, n: int) -> None:
    """Count vectors or cells that had to be computed, and could not be."""
    if n:
        _items.add(n, {"kind": kind, "outcome": "failed"})


def retried(task: str, error: BaseException) -> None:
    """Count a task that is tried again because of `error`."""
    _retries.add(1, {"task": task, "error.type": type(error).__name__})


def lease_waited(seconds: float) -> None:
    """Note how long a lease was waited for; called where another process held it, and only there."""
    _lease_waits.record(seconds)
