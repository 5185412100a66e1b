"""The outbox under test: events in it, how many are unpublished, and a publisher that records."""

import asyncio
from collections.abc import Sequence

from support.database import Database

from chat_api.outbox.record import record
from shared.bus import BusUnavailableError
from shared.events import Event


class Ear:
    """Takes what is published; can be away."""

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.away = False
        self.seconds = 0.0
        self.asked = asyncio.Event()
        self.refused = asyncio.Event()
        self._more = asyncio.Event()

    async def publish(self, events: Sequence[Event]) -> None:
        self.asked.set()
        await asyncio.sleep(self.seconds)
        if self.away:
            self.refused.set()
            raise BusUnavailableError("away")
        self.heard += events
        self._more.set()

    async def until(self, number: int) -> None:
        async with asyncio.timeout(10):
            while len(self.heard) < number:
                self._more.clear()
                await self._more.wait()


def event(name: str) -> Event:
    return Event(type="chat.read", body=b'{"n":1}', subject=name, name="read", rooms=("chat:1",), seq=7)


async def tell(database: Database, *events: Event) -> None:
    async with database.engine.begin() as connection:
        await record(connection, *events)


async def unpublished(database: Database) -> int:
    found: int = await database.connection.fetchval("SELECT count(*) FROM events WHERE published_at IS NULL")
    return found


async def all_marked(database: Database) -> None:
    """Returns when what was heard is known to have been: until then another leader would repeat it."""
    async with asyncio.timeout(10):
        while await unpublished(database):  # noqa: ASYNC110  the database tells nobody
            await asyncio.sleep(0.01)
