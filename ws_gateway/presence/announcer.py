"""Publishes the gateway's own events, typing and presence, to the gateways whose sockets they concern."""

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
    """A queue of events, published in order by `run`; when they cannot be, they are dropped.

    Attributes:
        settled: all that was announced is published, or dropped.
    """

    def __init__(self, publisher: EventPublisher) -> None:
        self._publisher = publisher
        self._queue: deque[Event] = deque()
        self._any_queued = asyncio.Event()
        self.settled = asyncio.Event()
        self.settled.set()

    def announce(self, event: Event) -> None:
        """Queues an event; never waits, never fails. Its loss does no lasting harm."""
        if len(self._queue) >= KEPT:
            ANNOUNCEMENTS_DROPPED.inc()
            return
        self._queue.append(event)
        self._any_queued.set()
        self.settled.clear()

    async def run(self) -> None:
        """Publishes what is announced, for ever."""
        while True:
            await self._any_queued.wait()
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            if not self._queue:
                self._any_queued.clear()
            try:
                await self._publisher.publish(batch)
            except BusUnavailableError as error:
                ANNOUNCEMENTS_DROPPED.inc(len(batch))
                log.warning("announcer.dropped", count=len(batch), error=str(error))
            if not self._queue:
                self.settled.set()
