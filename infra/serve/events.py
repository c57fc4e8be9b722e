"""In which order the server decides on events: a module as Prefect's `causal_ordering` setting names it.

By itself Prefect holds an event back for 15 minutes when the one before it is missing, as after a restart.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from uuid import UUID

from prefect.server.events.ordering import event_handler, memory
from prefect.server.events.schemas.events import ReceivedEvent

PATIENCE_S = 60.0
"""How long an event waits for the one before it, which the same server took in just before."""

deciding: ContextVar[bool] = ContextVar("deciding", default=False)
"""Whether what is being done is to decide on an event; transactions of SQLite begin otherwise then."""


class CausalOrdering(memory.CausalOrdering):
    """Prefect's order of events, with less patience; it marks what is done when it is an event's turn."""

    def __init__(self, scope: str) -> None:
        super().__init__(scope)
        # Prefect calls the class for every event, and gets the same object each time.
        self.held: dict[UUID, ReceivedEvent] = getattr(self, "held", {})

    async def record_follower(self, event: ReceivedEvent) -> None:
        """Hold an event back."""
        self.held[event.id] = event
        await super().record_follower(event)

    async def forget_follower(self, follower: ReceivedEvent) -> None:
        """Hold an event back no longer."""
        self.held.pop(follower.id, None)
        await super().forget_follower(follower)

    async def get_lost_followers(self) -> list[ReceivedEvent]:
        """Return, and hold back no longer, what has waited in vain."""
        lost = sorted(filter(_waited_enough, self.held.values()), key=lambda event: event.occurred)
        for event in lost:
            await self.forget_follower(event)
        return lost

    async def wait_for_leader(self, event: ReceivedEvent) -> None:
        """Let an event pass that follows none, follows one that was seen, or has waited enough."""
        if not _waited_enough(event):
            await super().wait_for_leader(event)

    @asynccontextmanager
    async def preceding_event_confirmed(
        self, handler: event_handler, event: ReceivedEvent, depth: int = 0
    ) -> AsyncIterator[None]:
        """Run the block when it is the event's turn."""
        async with super().preceding_event_confirmed(handler, event, depth):
            token = deciding.set(True)
            try:
                yield
            finally:
                deciding.reset(token)


def _waited_enough(event: ReceivedEvent) -> bool:
    return (datetime.now(UTC) - event.received).total_seconds() >= PATIENCE_S
