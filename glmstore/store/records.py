"""What a store knows beside features: benchmarks, and what was measured on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from glmstore.benchmarks.base import BenchmarkData, BenchmarkSpec
from glmstore.results import ResultRow
from glmstore.store.benchmarks import BenchmarkTables
from glmstore.store.connection import Connection
from glmstore.store.opening import OpenStore
from glmstore.store.results import ResultTables
from glmstore.store.sequences import SequenceTable


class RecordStore(OpenStore):
    """The benchmarks and results of a store."""

    def __init__(self, connection: Connection, store_id: str, layout: int) -> None:
        super().__init__(connection, store_id, layout)
        self._sequence_table = SequenceTable(connection)
        self._benchmark_tables = BenchmarkTables(connection, self._sequence_table)
        self._result_tables = ResultTables(connection)

    def register_benchmark(self, spec: BenchmarkSpec, data: BenchmarkData) -> str:
        """Store a benchmark with its items and sequences; return the digest of its items.

        The same again changes nothing, but for items or sequences that have gone missing, which are stored
        again; other items replace the old ones in one commit.

        Raises
        ------
        TableError, LabelError, EmptySequenceError, AlphabetError
            If an item cannot be one; names it, and nothing is registered.
        """
        self._connection.require_writable()
        return self._benchmark_tables.register(spec, data)

    def benchmarks(self) -> pl.DataFrame:
        """Return name, title, family, label_kind, split, n_items, digest and registered_at, by name."""
        return self._benchmark_tables.frame()

    def benchmark_items(self, name: str) -> pl.DataFrame:
        """Return item_id, seq_key, sequence, label, split, cluster, in the benchmark's order.

        Raises
        ------
        UnknownNameError
            If no such benchmark is registered here; so for the four methods below.
        StoreError
            If its items are gone.
        """
        return self._benchmark_tables.items(name)

    def benchmark_lacks(self, name: str) -> str:
        """Return which of a benchmark's items or sequences are gone, in words; empty where none are."""
        return self._benchmark_tables.lacks(name)

    def benchmark_facts(self, name: str) -> dict[str, float | int | str]:
        """Return what was measured when the benchmark was loaded: noise ceiling, rows left out, …."""
        return self._benchmark_tables.facts(name)

    def benchmark_spec(self, name: str) -> BenchmarkSpec:
        """Return the description stored with the items."""
        return self._benchmark_tables.spec(name)

    def benchmark_digest(self, name: str) -> str:
        """Return the digest of the items stored now."""
        return str(self._benchmark_tables.row(name)["digest"])

    def write_results(self, rows: Sequence[ResultRow], predictions: pl.DataFrame | None = None) -> None:
        """Store result rows and the predictions behind them, replacing all there was of the same cells.

        Parameters
        ----------
        rows
            Every row of one or more cells.
        predictions
            One row an item, cell and seed, with the fields of :class:`~glmstore.results.PredictionRow`.

        Raises
        ------
        TableError
            If a cell has one metric twice, or a prediction lacks a column, a value or its cell's row.
        """
        self._connection.require_writable()
        self._result_tables.write(rows, predictions)

    def completed(self, cell_keys: Iterable[str]) -> set[str]:
        """Return the cells all of whose rows are there with status ok; their predictions are there too."""
        return self._result_tables.completed(cell_keys)

    def results(self, **equals: str) -> pl.DataFrame:
        """Return result rows, those whose columns equal what is given; oldest first.

        Raises
        ------
        UnknownNameError
            If a column is no field of :class:`~glmstore.results.ResultRow`.
        """
        return self._result_tables.frame(**equals)

    def predictions(self, cell_keys: Sequence[str]) -> pl.DataFrame:
        """Return the predictions of these cells: the fields of :class:`~glmstore.results.PredictionRow`."""
        return self._result_tables.predictions(cell_keys)
