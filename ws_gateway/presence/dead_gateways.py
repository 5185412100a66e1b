"""Announces the users of a dead gateway offline: it cannot do so itself, so one of the others does."""

import asyncio
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Final, Protocol

import structlog
from redis.exceptions import RedisError

from shared.store.presence import GONE_SECONDS
from shared.store.presence import Presence as Store

log = structlog.get_logger()

LOOK_SECONDS: Final = 5.0
BATCH: Final = 500


class RoomPresence(Protocol):
    """The users who are online in the chats of this gateway."""

    def chats(self) -> AbstractSet[str]:
        """Returns the chats in which somebody here may be told of others."""

    def gone(self, chat_id: str, user_id: str) -> None:
        """Announces a user of a gateway that is gone offline, unless one of its sockets is here."""

    def announce_anew(self) -> None:
        """Announces everybody here again: others may have said that they are gone."""


class DeadGateways:
    """Looks for gateways that are gone, and announces offline those who were there and are nowhere else.

    Of all gateways one does so for each of them. A gateway is gone when two looks in a row find it so: when
    the store was away for all, each has time to come back.
    """

    def __init__(
        self,
        *,
        instance: str,
        store: Store,
        presence: RoomPresence,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._instance = instance
        self._store = store
        self._presence = presence
        self._clock = clock
        self._suspected: frozenset[str] = frozenset()
        self._cleared: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Looks now and then, for ever."""
        looked = self._clock()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._look()
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("departed.unknown", error=type(error).__name__)
                self._suspected = frozenset()
                continue
            if self._clock() - looked >= GONE_SECONDS - LOOK_SECONDS:
                log.warning("departed.returned")
                self._presence.announce_anew()
            looked = self._clock()

    async def _look(self) -> None:
        found = await self._store.gone() - {self._instance}
        due = (found & self._suspected) - self._cleared
        self._suspected = found
        if due:
            await self._clear(due)
        self._cleared = self._cleared & found | due

    async def _clear(self, gone: frozenset[str]) -> None:
        chats = sorted(self._presence.chats())
        for start in range(0, len(chats), BATCH):
            offline = await self._store.clear(chats[start : start + BATCH], gone)
            for chat_id, user_id in offline:
                self._presence.gone(chat_id, user_id)
        log.info("departed.cleared", gateways=sorted(gone), chats=len(chats))
