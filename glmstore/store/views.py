"""Which views a store holds, and where their numbers come from."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa

from glmstore.errors import AmbiguousViewError, UnknownNameError, ViewConflictError
from glmstore.objects.writing import writing
from glmstore.store.connection import Connection
from glmstore.store.schema import SCHEMAS, VIEWS
from glmstore.views import FeatureView, Provenance

_TOKENS = re.compile(r"_t([1-9][0-9]*)")


@dataclass(frozen=True)
class ViewRecord:
    """One declared view.

    Attributes
    ----------
    view, provenance
        As declared.
    generation
        Eight hex digits drawn at declaration and part of every table name: a view that is dropped and
        declared anew gets new tables, so nobody ever reads or writes the old rows by mistake.
    declared_at
        UTC.
    """

    view: FeatureView
    provenance: Provenance
    generation: str
    declared_at: datetime

    @property
    def table_stem(self) -> str:
        """What the names of this view's tables begin with."""
        return f"{self.view.table_stem}_{self.generation}"

    def table_name(self, tokens: int | None) -> str:
        """Return the table of rows with this many tokens; None for a pooled view."""
        return self.table_stem if tokens is None else f"{self.table_stem}_t{tokens}"

    def tables(self, connection: Connection) -> dict[str, int | None]:
        """Return the tables there are -> token count T, None for a pooled view; by rising T."""
        if not self.view.is_token_level:
            return {self.table_stem: None} if connection.handle(self.table_stem) is not None else {}
        found = {}
        for name in connection.names(self.table_stem):
            if self.owns(name) and connection.handle(name) is not None:
                found[name] = int(name.rpartition("_t")[2])
        return {name: found[name] for name in sorted(found, key=found.__getitem__)}

    def owns(self, name: str) -> bool:
        """Return whether a table called `name` is this view's, or would be if it were there."""
        rest = name.removeprefix(self.table_stem)
        return rest != name and (bool(_TOKENS.fullmatch(rest)) if self.view.is_token_level else not rest)


class ViewCatalogue:
    """The `feature_views` table.

    Parameters
    ----------
    connection
        The store's tables.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._read: tuple[int, Mapping[str, ViewRecord]] = (-1, {})

    def records(self) -> Mapping[str, ViewRecord]:
        """Return ``view_id`` -> record of every declared view, by name."""
        table = self._connection.read(VIEWS)
        if table is None:
            return {}
        if table.version != self._read[0]:
            rows = table.frame().sort("name").iter_rows(named=True)
            self._read = (table.version, {row["view_id"]: _record(row) for row in rows})
        return self._read[1]

    def declare(self, view: FeatureView, provenance: Provenance) -> ViewRecord:
        """Record `view` if it is new, and return what the store holds.

        Raises
        ------
        ViewConflictError
            If it is there with another width, other weights or another compute precision.
        """
        record = self.records().get(view.view_id)
        if record is None:
            row = {
                "view_id": view.view_id,
                "name": view.name,
                "generation": secrets.token_hex(4),
                "view": view.model_dump_json(),
                "provenance": provenance.model_dump_json(),
                "declared_at": datetime.now(UTC),
            }
            table = self._connection.write(VIEWS, SCHEMAS[VIEWS])
            with writing(self._connection.uri):
                table.merge_insert("view_id").when_not_matched_insert_all().execute(
                    pa.Table.from_pylist([row], schema=SCHEMAS[VIEWS])
                )
            record = self.records()[view.view_id]
        _refuse_other_origin(record, provenance)
        return record

    def forget(self, view: FeatureView) -> None:
        """Take the view out of the catalogue, in one commit."""
        table = self._connection.write(VIEWS, SCHEMAS[VIEWS])
        with writing(self._connection.uri):
            table.delete(f"view_id = '{view.view_id}'")

    def find(self, name: str) -> ViewRecord:
        """Return the view with this full name, unique beginning of a name, or id.

        Raises
        ------
        UnknownNameError
            If there is none, or more than one.
        """
        records = self.records()
        if name in records:
            return records[name]
        held = list(records.values())
        exact = [r for r in held if r.view.name == name]
        fits = exact or [r for r in held if name and r.view.name.startswith(name)]
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise AmbiguousViewError(name, [f"{r.view.name} (id {r.view.view_id})" for r in fits])
        raise UnknownNameError("feature view", name, [r.view.name for r in held])

    def get(self, view: FeatureView | str) -> ViewRecord | None:
        """Return the record of a view, None where this view object was never declared.

        Raises
        ------
        UnknownNameError
            If `view` is a name and fits none or several.
        """
        return self.find(view) if isinstance(view, str) else self.records().get(view.view_id)

    def require(self, view: FeatureView | str) -> ViewRecord:
        """Return the record of a view.

        Raises
        ------
        UnknownNameError
            If it was never declared.
        """
        record = self.get(view)
        if record is None:
            name = view if isinstance(view, str) else view.name
            known = [r.view.name for r in self.records().values()]
            raise UnknownNameError("feature view", name, known, "Declare a view before writing to it.")
        return record

    def frame(self) -> pl.DataFrame:
        """Return one row a view: identity, width, rows stored, provenance."""
        rows = [_summary(self._connection, record) for record in self.records().values()]
        return pl.DataFrame(rows, schema=_FRAME_SCHEMA)


_FRAME_SCHEMA: dict[str, Any] = {
    "name": pl.String,
    "view_id": pl.String,
    "model": pl.String,
    "revision": pl.String,
    "layer": pl.Int64,
    "pooling": pl.String,
    "strand": pl.String,
    "dtype": pl.String,
    "dim": pl.Int64,
    "rows": pl.Int64,
    "weights_sha256": pl.String,
    "tokenizer_sha256": pl.String,
    "precision": pl.String,
    "code_version": pl.String,
    "torch_version": pl.String,
    "declared_at": pl.Datetime("us", "UTC"),
}


def _summary(connection: Connection, record: ViewRecord) -> dict[str, object]:
    tables = [connection.read(name) for name in record.tables(connection)]
    stored = {
        "rows": sum(table.rows for table in tables if table is not None),
        "declared_at": record.declared_at,
    }
    known = {
        **record.view.model_dump(),
        **record.provenance.model_dump(),
        "name": record.view.name,
        "view_id": record.view.view_id,
        **stored,
    }
    return {column: known[column] for column in _FRAME_SCHEMA}


def _record(row: Mapping[str, str | datetime]) -> ViewRecord:
    return ViewRecord(
        view=FeatureView.model_validate_json(str(row["view"])),
        provenance=Provenance.model_validate_json(str(row["provenance"])),
        generation=str(row["generation"]),
        declared_at=row["declared_at"],  # type: ignore[arg-type]
    )


def _refuse_other_origin(record: ViewRecord, provenance: Provenance) -> None:
    stored = record.provenance
    for field in ("dim", "weights_sha256"):
        if getattr(stored, field) != getattr(provenance, field):
            raise ViewConflictError(
                f"view {record.view.name} is stored with {field} {getattr(stored, field)}, and now "
                f"{getattr(provenance, field)} is declared. Numbers of different origin never mix: give "
                f"the model another revision, or drop the view first."
            )
    if stored.precision != provenance.precision:
        raise ViewConflictError(
            f"view {record.view.name} is stored with precision {stored.precision}, and now "
            f"{provenance.precision} is asked for. Numbers of two precisions never mix in one view: ask "
            f"for auto (`--precision auto`, GLMSTORE_PRECISION=auto), which follows what is stored on any "
            f"device, or drop the view first (`FeatureStore.drop`) and fill it anew."
        )
