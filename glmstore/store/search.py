"""Nearest sequences in a view's space."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl

from glmstore.errors import NonFiniteFeatureError, PoolingError, ShapeError
from glmstore.store.connection import Connection
from glmstore.store.schema import KEY, VECTOR
from glmstore.store.sequences import SequenceTable
from glmstore.store.views import ViewRecord

_PROBED_SHARE = 8


def index_partitions(rows: int) -> int:
    """Return the number of partitions of an IVF index over this many rows."""
    return max(1, math.isqrt(rows))


def similar(
    connection: Connection, sequences: SequenceTable, record: ViewRecord, query: np.ndarray, k: int
) -> pl.DataFrame:
    """Return the `k` nearest sequences by cosine distance; see :meth:`FeatureStore.similar`.

    Every vector is compared, unless `optimize` found the view large enough for an IVF_FLAT index: then those
    of the nearest eighth of its partitions are, with exact distances.
    """
    _check_query(record, query, k)
    handle = connection.handle(record.table_stem)
    schema = {KEY: pl.String, "sequence": pl.String, "distance": pl.Float32}
    if handle is None:
        return pl.DataFrame(schema=schema)
    search: Any = handle.search(query.astype(np.float32), vector_column_name=VECTOR).distance_type("cosine")
    probes = max(20, index_partitions(handle.count_rows()) // _PROBED_SHARE)
    found = search.nprobes(probes).limit(k).select([KEY, "_distance"]).to_arrow()
    frame = pl.DataFrame(pl.from_arrow(found)).rename({"_distance": "distance"}).sort("distance", KEY)
    names = sequences.frame(frame[KEY].to_list())["sequence"]
    return frame.with_columns(names).select(list(schema))


def _check_query(record: ViewRecord, query: np.ndarray, k: int) -> None:
    view, dim = record.view, record.provenance.dim
    if view.is_token_level or view.dtype == "uint8":
        raise PoolingError(
            f"view {view.name} cannot be searched: cosine neighbours need one float vector a sequence. "
            f"Use a mean-, max- or cls-pooled view in float16 or float32."
        )
    if query.shape != (dim,) or query.dtype.kind not in "biuf":
        raise ShapeError(
            f"a query to view {view.name} is one vector [{dim}]; got {query.dtype} {list(query.shape)}."
        )
    if not np.isfinite(query.astype(np.float32)).all() or not np.any(query):
        raise NonFiniteFeatureError(
            "the query holds NaN or infinity, or is zero everywhere and has no direction."
        )
    if k < 1:
        raise ShapeError(f"k counts neighbours and must be at least 1; got {k}.")
