"""What the gateway itself has to say to other gateways' sockets: typing and presence."""

import asyncio
from collections import deque
from typing import Final

import structlog

from shared.bus import BusUnavailableError
from shared.events import Event
from shared.interest.publisher import EventPublisher
from ws_gateway.metrics import ANNOUNCEMENTS_DROPPED

log = structlog.get_logger()

KEPT: Final = 10_000
BATCH: Final = 200


class Announcer:
    """Publishes events in order, apart from those who cause them; when it cannot, they are dropped.

    Attributes:
        settled: all that was announced is published, or dropped.
    """

    def __init__(self, publisher: EventPublisher) -> None:
        self._publisher = publisher
        self._events: deque[Event] = deque()
        self._news = asyncio.Event()
        self.settled = asyncio.Event()
        self.settled.set()

    def announce(self, event: Event) -> None:
        """Takes an event; never waits, never fails. Its loss does no lasting harm."""
        if len(self._events) >= KEPT:
            ANNOUNCEMENTS_DROPPED.inc()
            return
        self._events.append(event)
        self._news.set()
        self.settled.clear()

    async def run(self) -> None:
        """Publishes what is announced, for ever."""
        while True:
            await self._news.wait()
            batch = [self._events.popleft() for _ in range(min(BATCH, len(self._events)))]
            if not self._events:
                self._news.clear()
            try:
                await self._publisher.publish(batch)
            except BusUnavailableError as error:
                ANNOUNCEMENTS_DROPPED.inc(len(batch))
                log.warning("announcer.dropped", count=len(batch), error=str(error))
            if not self._events:
                self.settled.set()
