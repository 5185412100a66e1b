"""Keeps the store's set of ended sessions as the database has it.

Gateways that start read that set. Redis may forget it, or be away when a session ends; the database knows.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import asyncpg
import structlog
from redis.exceptions import RedisError

from chat_api.database.connections import DATABASE_ERRORS
from shared.concurrency.cancellation import raise_if_cancelled
from shared.store.ended_sessions import EndedSessions

log = structlog.get_logger()

LOOK_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 5.0

# A row that was made when its session ended is another issuer's: it has the end of the token.
_ENDED: Final = (
    "SELECT id, extract(epoch FROM until)::bigint AS until FROM ("
    "  SELECT id, CASE WHEN created_at = ended_at THEN expires_at ELSE ended_at + $1::interval END AS until"
    "  FROM sessions WHERE ended_at IS NOT NULL) AS ended WHERE until > now()"
)


class EndedSessionsKeeper:
    """Fills the set at the start, and again whenever Redis has lost it or has missed an end."""

    def __init__(
        self,
        store: EndedSessions,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        *,
        access_seconds: int,
    ) -> None:
        self._store = store
        self._connect = connect
        self._access_life = timedelta(seconds=access_seconds)
        self._whole = False

    async def run(self) -> None:
        """Keeps the set whole until cancelled."""
        while True:
            await self.once()
            raise_if_cancelled()
            await asyncio.sleep(LOOK_SECONDS)

    async def once(self) -> None:
        """Fills the set unless it is known to be whole; what fails is tried again by the next call."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if not self._whole or not await self._store.is_whole():
                    await self._fill()
                    self._whole = True
        except (*DATABASE_ERRORS, RedisError) as error:
            self._whole = False
            log.warning("ended_sessions.not_kept", error=repr(error)[:500])

    def mark_incomplete(self) -> None:
        """Has the set filled again: an end could not be noted in it."""
        self._whole = False

    async def _fill(self) -> None:
        connection = await self._connect()
        try:
            rows = await connection.fetch(_ENDED, self._access_life)
        finally:
            connection.terminate()
        await self._store.fill({row["id"]: row["until"] for row in rows})
        log.info("ended_sessions.filled", sessions=len(rows))
