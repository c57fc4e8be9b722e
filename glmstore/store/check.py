"""Is this store whole? Everything that can be verified, verified."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from glmstore.errors import StoreError
from glmstore.sequences.normalise import seq_keys
from glmstore.store.benchmarks import BenchmarkTables
from glmstore.store.connection import Connection
from glmstore.store.features import FeatureTables
from glmstore.store.maintenance import orphan_tables
from glmstore.store.migrations import stored_version
from glmstore.store.results import ResultTables
from glmstore.store.schema import KEY, SCHEMA_VERSION, SCHEMAS, SEQUENCES, VECTOR
from glmstore.store.sequences import SequenceTable
from glmstore.store.snapshots import Snapshots
from glmstore.store.table import PinnedTable, vectors_of
from glmstore.store.views import ViewCatalogue, ViewRecord

_SAMPLE = 1024


@dataclass(frozen=True)
class StoreReport:
    """What a check of a store found.

    Attributes
    ----------
    uri, schema_version
        The store, and its layout version.
    tables
        ``table``, ``rows`` and ``version`` of every table that opens.
    problems
        One sentence each: the record it concerns, and the cure. Empty for a store that is whole.
    notes
        What is no fault: space that `optimize` would free.
    """

    uri: str
    schema_version: int
    tables: pl.DataFrame
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def check(connection: Connection) -> StoreReport:
    """Verify the store; see :meth:`FeatureStore.check`."""
    version = stored_version(connection) or 0
    problems: list[str] = []
    tables = []
    for name in connection.names():
        try:
            table = connection.read(name)
            if table is not None:
                tables.append({"table": name, "rows": table.rows, "version": table.version})
        except (OSError, RuntimeError, ValueError) as error:
            problems.append(
                f"table {name} does not open ({error}). Restore it from a copy, or drop what it holds."
            )
    schema = {"table": pl.String, "rows": pl.Int64, "version": pl.Int64}
    report = StoreReport(connection.uri, version, pl.DataFrame(tables, schema=schema), problems)
    if version != SCHEMA_VERSION:
        problems.append(f"the layout is {version}, not {SCHEMA_VERSION}. Run `glmstore migrate`.")
        return report
    if problems:
        return report
    for part in (_columns, _sequences, _views, _benchmarks, _snapshots):
        try:
            problems.extend(part(connection))
        except (OSError, RuntimeError, ValueError, StoreError) as error:
            problems.append(
                f"reading failed ({error}). Files are damaged or missing: restore them from a copy."
            )
    report.notes.extend(_notes(connection))
    return report


def _columns(connection: Connection) -> Iterator[str]:
    for name, schema in SCHEMAS.items():
        table = connection.read(name)
        if table is not None and not set(schema.names) <= set(table.schema.names):
            lacking = ", ".join(sorted(set(schema.names) - set(table.schema.names)))
            yield f"table {name} lacks the columns {lacking}. It was written by something else."


def _sequences(connection: Connection) -> Iterator[str]:
    table = connection.read(SEQUENCES)
    if table is None:
        return
    if repeated := table.keys.n_duplicates():
        yield f"table {SEQUENCES} holds {repeated} keys twice. Rebuild it from the sequences themselves."
    offsets = _sample(table.rows)
    rows = pl.DataFrame(pl.from_arrow(table.take(offsets, [KEY, "sequence", "length"])))
    for key, sequence, length in rows.iter_rows():
        if seq_keys([sequence]) != [key] or length != len(sequence):
            yield f"sequence {key} is not what its key or length says. The file was changed: restore it."
            return


def _views(connection: Connection) -> Iterator[str]:
    sequences = connection.read(SEQUENCES)
    for record in ViewCatalogue(connection).records().values():
        tables = FeatureTables(connection, record).pinned_tables()
        yield from _view_keys(record, tables, sequences)
        for tokens, table in tables:
            yield from _view_rows(record, tokens, table)


def _view_keys(
    record: ViewRecord, tables: list[tuple[int | None, PinnedTable]], sequences: PinnedTable | None
) -> Iterator[str]:
    name = record.view.name
    for number, (_, table) in enumerate(tables):
        twice = table.keys.n_duplicates()
        twice += sum(len(table.keys) - table.keys.absent_from(other.keys) for _, other in tables[:number])
        if twice:
            yield f"view {name} holds {twice} keys more than once. Drop the view and compute it again."
        astray = len(table.keys) if sequences is None else table.keys.absent_from(sequences.keys)
        if astray:
            yield f"view {name} holds {astray} keys that name no sequence. Add these, or drop the view."


def _view_rows(record: ViewRecord, tokens: int | None, table: PinnedTable) -> Iterator[str]:
    width = record.provenance.dim * (tokens or 1)
    vector = table.schema.field(VECTOR).type
    if vector.list_size != width:
        yield f"view {record.view.name} stores {vector.list_size} numbers a row, not {width}. Drop the view."
        return
    taken = table.take(_sample(table.rows), [VECTOR]).column(VECTOR)
    if not all(np.isfinite(vectors_of(chunk)).all() for chunk in taken.chunks):
        yield f"view {record.view.name} holds NaN or infinity. Drop the view and compute it again."


def _benchmarks(connection: Connection) -> Iterator[str]:
    benchmarks = BenchmarkTables(connection, SequenceTable(connection))
    for name in benchmarks.frame()["name"]:
        if problem := benchmarks.lacks(name):
            yield f"benchmark {name} {problem}. Register it again."


def _snapshots(connection: Connection) -> Iterator[str]:
    for snapshot in Snapshots(connection).all().values():
        pinned = connection.at(snapshot.versions, snapshot.name)
        for name in snapshot.versions:
            try:
                gone = pinned.handle(name) is None
            except (OSError, RuntimeError, ValueError):
                gone = True
            if gone:
                yield f"snapshot {snapshot.name} has lost table {name}. Forget the snapshot."


def _notes(connection: Connection) -> Iterator[str]:
    orphans = orphan_tables(connection)
    if orphans:
        yield f"{len(orphans)} tables are of no view or benchmark ({orphans[0]}, …): `optimize` frees them."
    superseded = ResultTables(connection).superseded()
    if superseded:
        yield f"{len(superseded)} replaced sets of results are still stored: `optimize` frees them in time."


def _sample(rows: int) -> np.ndarray:
    """Return up to 1024 offsets, evenly spread, always the same."""
    return np.unique(np.linspace(0, rows - 1, min(rows, _SAMPLE)).astype(np.int64))
