"""The tables of a store: their names, their columns, and the version of the whole layout.

A *layout* is everything an older reader could trip over: table names, columns and their types. Raise
:data:`SCHEMA_VERSION` when one changes, and register the step that leads there in
:mod:`glmstore.store.migrations`.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 2
"""Layout version written by this glmstore. Layout 1 was a pre-release: `sequences` had no ``length``."""

STORE = "store"
SEQUENCES = "sequences"
VIEWS = "feature_views"
BENCHMARKS = "benchmarks"
RESULTS = "results"
PREDICTIONS = "predictions"
SNAPSHOTS = "snapshots"
ITEMS_PREFIX = "benchmark_items_"
VIEW_PREFIX = "view_"

KEY = "seq_key"
VECTOR = "vector"
_PRIMARY_KEY = {b"lance-schema:unenforced-primary-key": b"true"}
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,199}")


def _key(name: str) -> pa.Field:
    """Return the field of a primary key.

    Set in the schema, so that the table never exists without it. A non-null string is the one type with which
    concurrent insert-only merges of equal keys store each of them once; fixed-size binary keys do not.
    """
    return pa.field(name, pa.string(), nullable=False, metadata=_PRIMARY_KEY)


def _text(*names: str) -> list[pa.Field]:
    return [pa.field(name, pa.string(), nullable=False) for name in names]


_WHEN = pa.timestamp("us", tz="UTC")

SCHEMAS: dict[str, pa.Schema] = {
    STORE: pa.schema(
        [
            *_text("store_id", "created_by"),
            pa.field("schema_version", pa.int32(), nullable=False),
            pa.field("created_at", _WHEN, nullable=False),
        ]
    ),
    SEQUENCES: pa.schema([_key(KEY), *_text("sequence"), pa.field("length", pa.int32())]),
    VIEWS: pa.schema(
        [
            _key("view_id"),
            *_text("name", "generation", "view", "provenance"),
            pa.field("declared_at", _WHEN, nullable=False),
        ]
    ),
    BENCHMARKS: pa.schema(
        [
            _key("name"),
            *_text("digest", "spec", "facts"),
            pa.field("n_items", pa.int64(), nullable=False),
            pa.field("registered_at", _WHEN, nullable=False),
        ]
    ),
    RESULTS: pa.schema(
        [
            *_text(
                "write_id", "cell_key", "model", "view", "benchmark", "split", "head", "protocol", "metric"
            ),
            *(pa.field(name, pa.float64()) for name in ("value", "ci_low", "ci_high")),
            *(pa.field(name, pa.int64(), nullable=False) for name in ("n", "seeds")),
            *_text("control", "pretraining_overlap", "status"),
            pa.field("error", pa.string()),
            *_text("details", "code_version"),
        ]
    ),
    PREDICTIONS: pa.schema(
        [
            *_text("write_id", "cell_key"),
            pa.field("seed", pa.int64(), nullable=False),
            *_text("item_id", "seq_key", "cluster"),
            pa.field("label", pa.float64(), nullable=False),
            pa.field("prediction", pa.float64(), nullable=False),
        ]
    ),
    SNAPSHOTS: pa.schema(
        [
            _key("name"),
            *_text("tag", "versions", "created_by"),
            pa.field("schema_version", pa.int32(), nullable=False),
            pa.field("created_at", _WHEN, nullable=False),
        ]
    ),
}

ITEMS_SCHEMA = pa.schema(
    [*_text("item_id", KEY), pa.field("label", pa.float64(), nullable=False), *_text("split", "cluster")]
)
"""The items of one benchmark under one digest, in the order of the benchmark; one table per digest."""

VECTOR_FILES = "2.0"
"""Lance file version of the vector tables: 2.0 scans token-level rows two to three times as fast as 2.2."""


def vector_schema(dtype: str, width: int) -> pa.Schema:
    """Return the schema of one table of a view.

    Parameters
    ----------
    dtype
        The view's number type: float16, float32 or uint8.
    width
        Numbers a row: D for a pooled view, T * D for token-level rows of T tokens.
    """
    element: dict[str, Any] = {"float16": pa.float16(), "float32": pa.float32(), "uint8": pa.uint8()}
    return pa.schema([_key(KEY), pa.field(VECTOR, pa.list_(element[dtype], width), nullable=False)])


def check_table_name(name: str) -> str:
    """Return `name` if it can be a table of a store.

    Raises
    ------
    ValueError
        If it could mean another place in the file system or a hidden file.
    """
    if not _SAFE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be a table name: letters, digits, '_' and '-' only, 200 at most")
    return name


def new_stamp(after: str = "") -> str:
    """Return an identifier that sorts by time: 16 hex digits of nanoseconds and 8 random ones.

    Parameters
    ----------
    after
        A stamp that the new one has to sort behind, whatever this machine's clock says.
    """
    now = time.time_ns()
    if after:
        now = max(now, int(after[:16], 16) + 1)
    return f"{now:016x}{secrets.token_hex(4)}"


def stamp_before(seconds: float) -> str:
    """Return the bound below which every stamp is older than `seconds`."""
    return f"{max(0, time.time_ns() - int(seconds * 1e9)):016x}"
