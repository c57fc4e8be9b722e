"""Keep a store fast and small, one process at a time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import Field

from glmstore.config import Frozen
from glmstore.estimating.quantity import bytes_text
from glmstore.leases import sweep, try_lease
from glmstore.store import FeatureStore
from glmstore.workspace import Workspace

LEASE = "optimize"
"""Name of the lease that whoever optimizes a whole store holds."""


class TableUpkeep(Frozen):
    """What was done to one table."""

    table: str
    rows: int = Field(description="Rows afterwards.")
    files_before: int
    files_after: int
    bytes_freed: int = Field(description="Of superseded versions that nobody can see.")


class Upkeep(Frozen):
    """What was done to a store."""

    store: str
    tables: tuple[TableUpkeep, ...]

    @property
    def sentence(self) -> str:
        """The whole in one sentence."""
        before, after = sum(t.files_before for t in self.tables), sum(t.files_after for t in self.tables)
        freed = bytes_text(sum(t.bytes_freed for t in self.tables))
        return f"Files {before:,} → {after:,} in {len(self.tables)} tables; {freed} freed."

    def shown(self) -> list[dict[str, Any]]:
        """Return one row a table, for people."""
        return [t.model_dump() | {"bytes_freed": bytes_text(t.bytes_freed)} for t in self.tables]


def maintain(uri: str, keep: timedelta) -> Upkeep | None:
    """Merge small files, sweep what nobody names, clean old versions and leases; tagged versions stay.

    Parameters
    ----------
    uri
        A store that exists.
    keep
        Superseded versions younger than this are kept for readers that hold no tag.

    Returns
    -------
    Upkeep or None
        None, with nothing done, while another process holds the lease on this work.

    Raises
    ------
    StoreNotFoundError
        If nothing lies at a local `uri`.
    StoreNotWritableError
        If the store cannot be written.
    """
    store = FeatureStore.open(uri, create=False)
    with try_lease(uri, LEASE) as held:
        if held is None:
            return None
        done = store.optimize(older_than=keep)
        sweep(uri)
        sweep(str(Workspace.of(uri).studies))
    return Upkeep(store=store.uri, tables=tuple(TableUpkeep(**row) for row in done.iter_rows(named=True)))
