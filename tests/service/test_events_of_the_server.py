"""The server decides on events in order, at once, and in transactions that SQLite does not refuse."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa
from prefect.server.events.ordering import EventArrivedEarly
from prefect.server.events.schemas.events import ReceivedEvent

from infra.serve.events import PATIENCE_S, CausalOrdering
from infra.serve.sqlite import Sqlite

STANDSTILL = """
import sqlite3, sys, threading, time
from infra.serve.sqlite import collect_in_a_thread

def forget(cursor):
    own = [cursor]
    own.append(own)

file, patience = sys.argv[1], float(sys.argv[2])
one = sqlite3.connect(file, isolation_level=None)
other = sqlite3.connect(file, isolation_level=None, timeout=patience, check_same_thread=False)
one.executescript("PRAGMA journal_mode = WAL; CREATE TABLE bucket (count INTEGER)")
collect_in_a_thread()
one.execute("BEGIN IMMEDIATE")
writing = threading.Thread(target=other.execute, args=("INSERT INTO bucket VALUES (1)",))
forget(other.execute("SELECT 1"))
writing.start()
begun = time.monotonic()
while time.monotonic() - begun < 3:
    for _ in range(1000):
        forget(None)
    time.sleep(0.01)
one.execute("COMMIT")
writing.join()
print(time.monotonic() - begun, one.execute("SELECT * FROM bucket").fetchall())
"""
"""One transaction is under way, another waits for it, and garbage is made, a cursor of the other among it."""


def event(follows: ReceivedEvent | None = None) -> ReceivedEvent:
    """Return an event that came in just now."""
    then = datetime.now(UTC)
    return ReceivedEvent(
        occurred=then,
        received=then,
        event="prefect.flow-run.Failed",
        resource={"prefect.resource.id": f"prefect.flow-run.{uuid4()}"},
        id=uuid4(),
        follows=follows.id if follows else None,
    )


def age(event: ReceivedEvent, seconds: float) -> None:
    """Let an event have come in earlier."""
    event.received -= timedelta(seconds=seconds)


class Decider:
    """Decides on events as the server does."""

    def __init__(self) -> None:
        self.scope, self.decided = uuid4().hex, []

    @property
    def ordering(self) -> CausalOrdering:
        """Return it as Prefect does: by calling the class anew each time."""
        return CausalOrdering(scope=self.scope)

    async def decide(self, event: ReceivedEvent, depth: int = 0) -> None:
        async with self.ordering.preceding_event_confirmed(self.decide, event, depth):
            self.decided.append(event)

    def take_in(self, *events: ReceivedEvent) -> None:
        async def all_of_them() -> None:
            for one in events:
                with suppress(EventArrivedEarly):
                    await self.decide(one)

        asyncio.run(all_of_them())

    def given_up(self) -> list[ReceivedEvent]:
        return asyncio.run(self.ordering.get_lost_followers())


@pytest.fixture
def decider() -> Decider:
    return Decider()


def test_an_event_waits_for_the_one_before_it(decider):
    before = event()
    after = event(follows=before)
    decider.take_in(after)
    assert decider.decided == []
    decider.take_in(before)
    assert decider.decided == [before, after]
    assert decider.given_up() == []


def test_an_event_waits_a_minute_not_a_quarter_of_an_hour_for_one_that_never_comes(decider):
    late, later = event(follows=event()), event(follows=event())
    decider.take_in(late, later)
    age(late, PATIENCE_S - 5)
    assert decider.given_up() == []
    age(late, 10)
    age(later, PATIENCE_S)
    lost = decider.given_up()
    assert lost == [late, later]
    decider.take_in(*lost)
    assert decider.decided == lost
    assert decider.given_up() == []


@pytest.mark.parametrize("deciding", [True, False])
def test_who_decides_on_an_event_may_write_from_the_start(decider, tmp_path, deciding: bool):
    file = tmp_path / "server.db"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE bucket (count INTEGER)")

    async def meanwhile() -> bool:
        """Return whether another can write between the first read and the first write of a transaction."""
        config = Sqlite(f"sqlite+aiosqlite:///{file}")
        engine = await config.engine()
        try:
            async with await config.session(engine) as session, config.begin_transaction(session):
                await session.execute(sa.text("SELECT count FROM bucket"))
                other = sqlite3.connect(file, timeout=0, isolation_level=None)
                try:
                    other.execute("INSERT INTO bucket VALUES (1)")
                except sqlite3.OperationalError:
                    return False
                finally:
                    other.close()
                return True
        finally:
            await engine.dispose()

    async def within_a_decision() -> bool:
        async with decider.ordering.preceding_event_confirmed(decider.decide, event()):
            return await meanwhile()

    assert asyncio.run(within_a_decision() if deciding else meanwhile()) is not deciding


def test_garbage_does_not_keep_a_transaction_from_its_end_while_another_waits_for_it(root, tmp_path):
    patience_s = 30.0
    command = [sys.executable, "-c", STANDSTILL, str(tmp_path / "server.db"), str(patience_s)]
    env = os.environ | {"PREFECT_HOME": str(tmp_path)}
    said = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=120, check=True)
    seconds, _, written = said.stdout.strip().partition(" ")
    assert float(seconds) < patience_s / 2
    assert written == "[(1,)]"
