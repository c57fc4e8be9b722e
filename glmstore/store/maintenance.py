"""Keep a store fast and small: merge small files, remove what nobody can see any more."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from lancedb.index import IvfFlat

from glmstore.objects import open_objects
from glmstore.objects.writing import writing
from glmstore.store.connection import Connection
from glmstore.store.pins import READER_TAG, SNAPSHOT_TAG
from glmstore.store.results import ResultTables
from glmstore.store.schema import (
    BENCHMARKS,
    ITEMS_PREFIX,
    PREDICTIONS,
    RESULTS,
    VECTOR,
    VIEW_PREFIX,
    stamp_before,
)
from glmstore.store.search import index_partitions
from glmstore.store.snapshots import Snapshots
from glmstore.store.views import ViewCatalogue, ViewRecord

_FILE_BYTES = 512 << 20
_PASS_BYTES = 1 << 30
_MAX_ROWS = 1 << 20
_ABANDONED = timedelta(days=1)
_READER_GONE = timedelta(days=7)
_NEVER = timedelta(days=36500)
_ATTEMPTS = 5

log = logging.getLogger(__name__)


def optimize(
    connection: Connection,
    records: Iterable[ViewRecord],
    *,
    older_than: timedelta,
    index_rows: int,
    sweep: bool,
) -> pl.DataFrame:
    """Compact and clean tables; see :meth:`FeatureStore.optimize`."""
    connection.require_writable()
    if sweep:
        sweep_orphans(connection)
    pooled = {r.table_stem for r in records if not r.view.is_token_level and r.view.dtype != "uint8"}
    views = {name for r in records for name in r.tables(connection)}
    names = [n for n in connection.names() if n in views or (sweep and not n.startswith(VIEW_PREFIX))]
    rows = []
    for name in names:
        handle = connection.handle(name)
        if handle is None:
            continue
        with writing(connection.uri):
            rows.append({"table": name, **_compact_and_clean(connection, name, handle, older_than)})
            if name in pooled:
                _index(connection, handle, index_rows)
    schema = {"table": pl.String, "rows": pl.Int64, "files_before": pl.Int64, "files_after": pl.Int64}
    return pl.DataFrame(rows, schema=schema | {"bytes_freed": pl.Int64})


def survey(connection: Connection) -> pl.DataFrame:
    """Count every table's rows, files and versions; see :meth:`FeatureStore.tables`."""
    rows = []
    for name in connection.names():
        handle = connection.handle(name)
        if handle is not None:
            stats = handle.stats()
            files, versions = stats["fragment_stats"]["num_fragments"], len(handle.list_versions())
            rows.append({"table": name, "rows": stats["num_rows"], "files": files, "versions": versions})
    return pl.DataFrame(
        rows, schema={"table": pl.String, "rows": pl.Int64, "files": pl.Int64, "versions": pl.Int64}
    )


def _compact_and_clean(
    connection: Connection, name: str, handle: Any, older_than: timedelta
) -> dict[str, int]:
    if connection.in_memory:
        files = handle.stats()["fragment_stats"]["num_fragments"]
        handle.optimize(cleanup_older_than=_NEVER)
        after = handle.stats()["fragment_stats"]["num_fragments"]
        return {"rows": handle.count_rows(), "files_before": files, "files_after": after, "bytes_freed": 0}
    before, freed = -1, 0
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            handle.checkout_latest()
            before = len(handle.to_lance().get_fragments()) if before < 0 else before
            _compact(handle, others_may=attempt == _ATTEMPTS)
            _drop_stale_tags(connection, handle)
            cleaned = handle.to_lance().cleanup_old_versions(
                older_than=older_than, error_if_tagged_old_versions=False
            )
            freed += int(cleaned.bytes_removed)
            handle.checkout_latest()
            after, rows = len(handle.to_lance().get_fragments()), int(handle.count_rows())
            break
        except (OSError, RuntimeError, ValueError) as error:
            met = re.search("conflict|not found", str(error), re.IGNORECASE)
            if met is None or attempt == _ATTEMPTS:
                raise
            log.info("another process is merging the files of %s; looking again at what is left", name)
    return {"rows": rows, "files_before": before, "files_after": after, "bytes_freed": freed}


def _compact(handle: Any, *, others_may: bool) -> None:
    """Merge small files a gigabyte at a time, copying encoded pages, so that memory stays bounded.

    With `others_may` the files are left to another process that merges them and was faster.
    """
    options: dict[str, Any] = {
        "target_rows_per_fragment": _rows_per_file(handle),
        "max_source_bytes": _PASS_BYTES,
        "compaction_mode": "try_binary_copy",
        "num_threads": 1,
    }
    try:
        while handle.to_lance().optimize.compact_files(**options).files_removed:
            pass
    except (OSError, RuntimeError) as error:
        if not others_may or "conflict" not in str(error).lower():
            raise
        log.info("files of %s are left to the processes that are merging them", handle.name)


def _rows_per_file(handle: Any) -> int:
    schema = handle.schema
    if VECTOR not in schema.names:
        return _MAX_ROWS
    vector = schema.field(VECTOR).type
    row_bytes = int(vector.list_size * vector.value_type.bit_width // 8)
    return max(1, min(_MAX_ROWS, _FILE_BYTES // row_bytes))


def _extend_index(connection: Connection, handle: Any) -> None:
    if connection.in_memory:
        handle.optimize(cleanup_older_than=_NEVER)
    else:
        handle.to_lance().optimize.optimize_indices()


def _index(connection: Connection, handle: Any, index_rows: int) -> None:
    rows = handle.count_rows()
    if handle.list_indices():
        _extend_index(connection, handle)
    elif rows >= index_rows:
        handle.create_index(
            VECTOR, config=IvfFlat(distance_type="cosine", num_partitions=index_partitions(rows))
        )


def _drop_stale_tags(connection: Connection, handle: Any) -> None:
    """Remove tags of readers a week gone, and of snapshots that were never finished."""
    wanted = {snapshot.tag for snapshot in Snapshots(connection).all().values()}
    limits = {READER_TAG: _READER_GONE, SNAPSHOT_TAG: _ABANDONED}
    for tag in handle.tags.list():
        for prefix, age in limits.items():
            old = tag.removeprefix(prefix) < stamp_before(age.total_seconds())
            if tag.startswith(prefix) and tag not in wanted and old:
                handle.tags.delete(tag)


def orphan_tables(connection: Connection) -> list[str]:
    """Return view and item tables that no view, benchmark or snapshot names."""
    names = [name for name in connection.names() if name.startswith((VIEW_PREFIX, ITEMS_PREFIX))]
    kept = {name for snapshot in Snapshots(connection).all().values() for name in snapshot.versions}
    for record in ViewCatalogue(connection).records().values():
        kept.update(filter(record.owns, names))  # one that has no version yet is being created
    benchmarks = connection.read(BENCHMARKS)
    if benchmarks is not None:
        kept.update(f"{ITEMS_PREFIX}{digest}" for digest in benchmarks.frame(["digest"])["digest"])
    return [name for name in names if name not in kept]


def sweep_orphans(connection: Connection) -> None:
    """Remove tables nobody names and rows nobody sees, once they are a day old.

    The day is for writers at work: a benchmark's items, and a cell's predictions, are written before the row
    that names them, and the files of a table before its first version.
    """
    for name in orphan_tables(connection):
        if _untouched(connection, name) > _ABANDONED:
            connection.drop(name)
    results, cutoff = ResultTables(connection), stamp_before(_ABANDONED.total_seconds())
    gone = [stamp for stamp in results.superseded() if stamp < cutoff]
    live = results.live()
    with writing(connection.uri):
        rows, predictions = connection.handle(RESULTS), connection.handle(PREDICTIONS)
        if rows is not None and gone:
            rows.delete(f"write_id IN ({_quoted(gone)})")
        if predictions is not None:
            unseen = f"write_id < '{cutoff}'" + (f" AND write_id NOT IN ({_quoted(live)})" if live else "")
            if predictions.count_rows(unseen):
                predictions.delete(unseen)


def _quoted(stamps: list[str]) -> str:
    return ", ".join(f"'{stamp}'" for stamp in stamps)


def _untouched(connection: Connection, name: str) -> timedelta:
    """Return for how long nobody has written to a table; by its files, while it has no version."""
    handle = connection.handle(name)
    if handle is not None:
        newest: datetime = handle.list_versions()[-1]["timestamp"]
        return datetime.now(UTC) - newest.astimezone(UTC)
    files = open_objects(connection.uri)
    ages = [files.age_s(file) for file in files.names(f"{name}.lance/")]
    # Without a file yet it was begun a moment ago; one that is gone was removed a moment ago.
    return timedelta(seconds=min((age or 0.0 for age in ages), default=0.0))
