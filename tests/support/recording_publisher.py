"""A publisher that records, for the tests of the relay."""

import asyncio
from collections.abc import Sequence

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
