"""What was measured: result rows, and the predictions behind them.

Both tables are append-only logs. Everything written in one call carries one *write id*, which sorts by time;
a cell's current rows are those of its latest write id, and its predictions those of the same id. Predictions
are committed first and the rows after them in one commit, so a cell becomes visible, or is replaced, as a
whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl
import pyarrow as pa

from glmstore.errors import TableError, UnknownNameError
from glmstore.results import PredictionRow, ResultRow
from glmstore.store.connection import Connection
from glmstore.store.inserting import append_once
from glmstore.store.schema import PREDICTIONS, RESULTS, SCHEMAS, new_stamp

_FIELDS = list(ResultRow.model_fields)
_PREDICTION_FIELDS = list(PredictionRow.model_fields)


class ResultTables:
    """The `results` and `predictions` tables.

    Parameters
    ----------
    connection
        The store's tables.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def write(self, rows: Sequence[ResultRow], predictions: pl.DataFrame | None) -> None:
        """Replace everything known about the cells of `rows`; see :meth:`FeatureStore.write_results`."""
        if not rows:
            if predictions is not None and len(predictions):
                raise TableError("predictions without result rows would never be seen; write both together.")
            return
        cells = _check_rows(rows)
        stamped = _prediction_table(predictions, cells) if predictions is not None else None
        write_id = new_stamp(after=self._latest_stamp(cells))
        if stamped is not None and len(stamped):
            self._append(PREDICTIONS, stamped, write_id)
        self._append(
            RESULTS,
            pl.DataFrame([row.model_dump() for row in rows], schema=_polars_schema(RESULTS)),
            write_id,
        )

    def _append(self, name: str, frame: pl.DataFrame, write_id: str) -> None:
        schema = SCHEMAS[name]
        data = frame.with_columns(write_id=pl.lit(write_id)).select(schema.names).to_arrow().cast(schema)
        table = self._connection.write(name, schema)
        append_once(self._connection.uri, table, data, already=f"write_id = '{write_id}'")

    def _latest_stamp(self, cells: set[str]) -> str:
        latest = self._log(["write_id", "cell_key"]).filter(pl.col("cell_key").is_in(cells))["write_id"].max()
        return str(latest or "")

    def _log(self, columns: list[str] | None = None) -> pl.DataFrame:
        table = self._connection.read(RESULTS)
        if table is None:
            names = columns or SCHEMAS[RESULTS].names
            empty = pl.DataFrame(pl.from_arrow(SCHEMAS[RESULTS].empty_table()))
            return empty.select(names)
        return table.frame(columns)

    def _current(self, columns: list[str] | None = None) -> pl.DataFrame:
        return self._log(columns).filter(pl.col("write_id") == pl.col("write_id").max().over("cell_key"))

    def completed(self, cell_keys: Iterable[str]) -> set[str]:
        """Return the cells asked for that have rows, all of them with status ok."""
        rows = self._current(["write_id", "cell_key", "status"])
        good = rows.group_by("cell_key").agg((pl.col("status") == "ok").all().alias("good")).filter("good")
        return set(cell_keys) & set(good["cell_key"])

    def frame(self, **equals: str) -> pl.DataFrame:
        """Return the current rows whose columns equal what is given, oldest write first.

        Raises
        ------
        UnknownNameError
            If a column is no field of :class:`ResultRow`.
        """
        for column in equals:
            if column not in _FIELDS:
                raise UnknownNameError("result column", column, _FIELDS)
        rows = self._current().sort("write_id", maintain_order=True)
        return rows.filter(*(pl.col(c) == value for c, value in equals.items())).select(_FIELDS)

    def predictions(self, cell_keys: Sequence[str]) -> pl.DataFrame:
        """Return the predictions behind the current rows of these cells, in the order they were written."""
        asked = (
            self._current(["write_id", "cell_key"]).filter(pl.col("cell_key").is_in(set(cell_keys))).unique()
        )
        table = self._connection.read(PREDICTIONS)
        if table is None or asked.is_empty():
            return pl.DataFrame(pl.from_arrow(SCHEMAS[PREDICTIONS].empty_table())).select(_PREDICTION_FIELDS)
        ids = ", ".join(f"'{stamp}'" for stamp in sorted(set(asked["write_id"])))
        rows = table.frame(where=f"write_id IN ({ids})")
        return rows.join(asked, on=["write_id", "cell_key"], how="semi", maintain_order="left").select(
            _PREDICTION_FIELDS
        )

    def superseded(self) -> list[str]:
        """Return write ids of which no row is current any more."""
        every, current = self._log(["write_id"]), self._current(["write_id", "cell_key"])
        return sorted(set(every["write_id"]) - set(current["write_id"]))

    def live(self) -> list[str]:
        """Return write ids of which some row is current."""
        return sorted(set(self._current(["write_id", "cell_key"])["write_id"]))


def _check_rows(rows: Sequence[ResultRow]) -> set[str]:
    seen: set[tuple[str, str]] = set()
    for row in rows:
        if (row.cell_key, row.metric) in seen:
            raise TableError(
                f"cell {row.cell_key} has metric {row.metric} twice in one write; nothing was written."
            )
        seen.add((row.cell_key, row.metric))
    return {row.cell_key for row in rows}


def _prediction_table(predictions: pl.DataFrame, cells: set[str]) -> pl.DataFrame:
    if set(predictions.columns) != set(_PREDICTION_FIELDS):
        raise TableError(
            f"predictions need exactly the columns {', '.join(_PREDICTION_FIELDS)}; "
            f"got {', '.join(predictions.columns)}."
        )
    for column, nulls in predictions.null_count().row(0, named=True).items():
        if nulls:
            raise TableError(f"{nulls} predictions lack their {column}; nothing was written.")
    strays = set(predictions["cell_key"]) - cells
    if strays:
        raise TableError(f"predictions of cell {min(strays)} come without a result row; write both together.")
    return predictions.cast({n: t for n, t in _polars_schema(PREDICTIONS).items() if n != "write_id"})


def _polars_schema(name: str) -> dict[str, pl.DataType]:
    empty: pa.Table = SCHEMAS[name].empty_table()
    return dict(pl.DataFrame(pl.from_arrow(empty)).schema)
