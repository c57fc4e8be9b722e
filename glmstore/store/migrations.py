"""From an older layout to the present one.

A step only adds: what it leaves behind can still be read as the old layout, and running it again changes
nothing. The version number is raised last, in one commit. A migration that is killed anywhere has therefore
either not happened, and is run again from its start, or is complete.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import glmstore
from glmstore.errors import StoreVersionError
from glmstore.objects.writing import writing
from glmstore.store.connection import Connection
from glmstore.store.schema import SCHEMA_VERSION, SEQUENCES, STORE


def _add_sequence_lengths(connection: Connection) -> None:
    """Layout 2: `sequences` gets ``length``, so that lengths are known without reading the sequences."""
    table = connection.handle(SEQUENCES)
    if table is not None and "length" not in table.schema.names:
        table.add_columns({"length": "cast(character_length(sequence) as int)"})


MIGRATIONS: dict[int, Callable[[Connection], None]] = {1: _add_sequence_lengths}
"""Layout version -> the step that leads from it to the next."""


def stored_version(connection: Connection) -> int | None:
    """Return the layout version of the store, None where there is no store."""
    table = connection.read(STORE)
    return (
        None if table is None or not table.rows else int(table.frame(["schema_version"])["schema_version"][0])
    )


def refusal(uri: str, version: int) -> StoreVersionError | None:
    """Return why a store of this layout cannot be used by this glmstore, None where it can."""
    what = f"the store at {uri} has layout {version}; glmstore {glmstore.__version__} uses {SCHEMA_VERSION}"
    if version > SCHEMA_VERSION:
        return StoreVersionError(
            f"{what}: a newer glmstore wrote it. Run pip install --upgrade glmstore. Nothing was changed."
        )
    if version < SCHEMA_VERSION:
        return StoreVersionError(f"{what}. Run `glmstore migrate --store {uri}` once; nothing is lost by it.")
    return None


def migrate(connection: Connection) -> int:
    """Bring the store to :data:`SCHEMA_VERSION`; return the version it had.

    Raises
    ------
    StoreVersionError
        If there is no way there from the version found.
    StoreNotWritableError
        If the store is on a read-only or full file system.
    """
    connection.require_writable()
    found = stored_version(connection) or 0
    if found == SCHEMA_VERSION:
        return found
    steps = range(found, SCHEMA_VERSION)
    if not steps or any(version not in MIGRATIONS for version in steps):
        raise StoreVersionError(
            f"there is no way from layout {found} of {connection.uri} to {SCHEMA_VERSION}."
        )
    table: Any = connection.handle(STORE)
    with writing(connection.uri):
        for version in steps:
            MIGRATIONS[version](connection)
        table.update(values={"schema_version": SCHEMA_VERSION})
    return found
