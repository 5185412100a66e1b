"""Keeps which sessions have been revoked: their sockets are disconnected, and no new ones come."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog
from redis.exceptions import RedisError

from shared.concurrency.backoff import backoff
from shared.concurrency.waiting import wait_for_event
from shared.store.ended_sessions import EndedSessions
from ws_gateway.rooms.sockets import Sockets
from ws_gateway.rooms.subscriptions import Socket

log = structlog.get_logger()

RELOAD_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 5.0
REMEMBERED_SECONDS: Final = 86_400
"""How long an ended session is remembered where the store does not say how long its tokens last."""


class RevokedSessions:
    """The revoked sessions: from the bus as it happens, from the store for what the bus has missed.

    Attributes:
        loaded: the store has answered once.
    """

    def __init__(
        self,
        *,
        store: EndedSessions,
        sockets: Sockets,
        end: Callable[[Socket, str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._sockets = sockets
        self._end = end
        self._clock = clock
        self._ended: dict[str, int] = {}
        self._reload_due = asyncio.Event()
        self.loaded = asyncio.Event()

    def ended(self, session_id: str) -> bool:
        """Returns whether the session has ended, so that its tokens are refused."""
        return session_id in self._ended

    def end(self, session_id: str) -> None:
        """Drops the session's sockets at once and lets no new one in."""
        self._add({session_id: int(self._clock()) + REMEMBERED_SECONDS})

    def reload(self) -> None:
        """Asks the store again, soon: the bus may have lost an event."""
        self._reload_due.set()

    async def run(self) -> None:
        """Loads them from the store again and again, for ever."""
        pauses = backoff()
        while True:
            self._reload_due.clear()
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    found = await self._store.load()
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("sessions.store_away", error=type(error).__name__)
                await asyncio.sleep(next(pauses))
                continue
            pauses = backoff()
            self._add(found)
            self.loaded.set()
            await wait_for_event(self._reload_due, seconds=RELOAD_SECONDS)

    def _add(self, found: dict[str, int]) -> None:
        now = self._clock()
        self._ended = {known: until for known, until in (self._ended | found).items() if until >= now}
        for session_id in found:
            for socket in self._sockets.of_session(session_id):
                self._end(socket, "session_ended")
