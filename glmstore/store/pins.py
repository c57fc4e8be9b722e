"""Tags that keep a version's files while somebody reads them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from glmstore.errors import StoreNotWritableError
from glmstore.objects.writing import writing
from glmstore.store.connection import Connection
from glmstore.store.schema import new_stamp
from glmstore.store.table import PinnedTable

READER_TAG = "reader-"
SNAPSHOT_TAG = "snapshot-"

log = logging.getLogger(__name__)


def set_tag(handle: Any, tag: str, version: int) -> None:
    """Keep a version of a LanceDB table by a tag.

    Parameters
    ----------
    handle
        The table.
    tag
        A name that nobody else chooses. So one that is there already was set by this call's own request,
        which was sent again because its answer got lost.
    version
        What it points at.
    """
    try:
        handle.tags.create(tag, version)
    except RuntimeError as error:
        if "already exists" not in str(error) or handle.tags.get_version(tag) != version:
            raise


@contextmanager
def pinned(connection: Connection, name: str) -> Iterator[PinnedTable | None]:
    """Give the table called `name` at its present version, safe from cleaning until the block is left.

    A reader that was killed leaves its tag behind; `optimize` removes tags that are a week old. On a store
    that cannot be written no tag can be set: the reader then relies on the files staying where they are.
    """
    table = connection.read(name)
    handle = connection.handle(name)
    if table is None or handle is None or connection.snapshot:
        yield table
        return
    tag = f"{READER_TAG}{new_stamp()}"
    tagged = True
    try:
        with writing(connection.uri):
            set_tag(handle, tag, table.version)
    except StoreNotWritableError as refused:
        tagged = False
        log.info("reading %s without a tag: %s", name, refused)
    try:
        yield table
    finally:
        if tagged:
            with writing(connection.uri):
                handle.tags.delete(tag)
