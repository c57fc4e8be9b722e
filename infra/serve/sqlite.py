"""Prefect's server on SQLite, its default: without transactions that are refused, and without standstill."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from prefect.server.database.configurations import AioSqliteConfiguration
from prefect.server.database.dependencies import set_database_config
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

from infra.serve.events import deciding

YOUNG_S, ALL_S = 1.0, 60.0
"""Seconds between two collections of young garbage, and of all."""


class Sqlite(AioSqliteConfiguration):
    """Prefect's SQLite, whose transactions that decide on events wait for the right to write at once.

    Those that read first, Prefect's default, are refused at their first write when another has written since.
    """

    @asynccontextmanager
    async def begin_transaction(
        self, session: AsyncSession, with_for_update: bool = False
    ) -> AsyncGenerator[AsyncSessionTransaction, None]:
        """Begin a transaction, with the right to write where that was asked for or an event is decided on."""
        at_once = with_for_update or deciding.get()
        async with super().begin_transaction(session, with_for_update=at_once) as transaction:
            yield transaction


def prepare(url: str) -> None:
    """Prepare this process for serving from a database, if that is SQLite."""
    if url.startswith("sqlite"):
        set_database_config(Sqlite(url))
        collect_in_a_thread()


def collect_in_a_thread() -> None:
    """Collect garbage in a thread that nobody waits for, not wherever it is that memory is asked for.

    A forgotten cursor waits, when it is collected, for the statement under way on its connection. Where that
    waits for another transaction, which only the collecting thread could bring to its end, both wait until
    SQLite gives up after 60 s, and with them every request and every event.
    """
    gc.disable()
    threading.Thread(target=_collect, name="garbage", daemon=True).start()


def _collect() -> None:
    all_of_it = time.monotonic() + ALL_S
    while True:
        time.sleep(YOUNG_S)
        if time.monotonic() < all_of_it:
            gc.collect(1)
        else:
            gc.collect()
            all_of_it = time.monotonic() + ALL_S
