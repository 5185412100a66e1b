"""Gauges of what waits: events that the relay has yet to publish, and dead letters.

Each API instance looks for itself, whether it relays or not, so that the figures are there when nobody leads:
of several instances, take the highest.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from time import monotonic
from typing import Final, Protocol

import asyncpg
import structlog
from prometheus_client import Gauge

from chat_api.database.connections import DATABASE_ERRORS
from shared.bus import BusUnavailableError
from shared.concurrency.cancellation import raise_if_cancelled
from shared.ids import now

log = structlog.get_logger()

LOOK_SECONDS: Final = 5.0
_SHARE: Final = 20
"""A look that takes long, for a backlog that is long, comes round that many times its length later."""

LAG = Gauge(
    "roomcast_api_outbox_lag_seconds",
    "Age of the oldest unpublished event, as of the last look; 0 when there is none",
)
UNPUBLISHED = Gauge(
    "roomcast_api_outbox_unpublished", "Events that wait to be published, as of the last look"
)
DEAD_LETTERS = Gauge(
    "roomcast_api_dead_letters", "Dead letters that wait for an operator, as of the last look"
)

_UNPUBLISHED: Final = (
    "SELECT (SELECT count(*) FROM events WHERE published_at IS NULL) AS number,"
    " (SELECT time FROM events WHERE published_at IS NULL ORDER BY position LIMIT 1) AS oldest"
)


class DeadLetterBox(Protocol):
    """The dead letters, as the gauges need them."""

    async def count_dead_letters(self) -> int:
        """Returns how many there are.

        Raises:
            BusUnavailableError: not known now.
        """


class Backlog:
    """Keeps the gauges up to date."""

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]], letters: DeadLetterBox) -> None:
        self._connect = connect
        self._letters = letters
        self._oldest: datetime | None = None
        # Grows between looks too, and while the database does not answer.
        LAG.set_function(self._lag)

    async def run(self) -> None:
        """Looks until cancelled; what cannot be known now stays as it was."""
        connection: asyncpg.Connection | None = None
        try:
            while True:
                began = monotonic()
                try:
                    if connection is None or connection.is_closed():
                        connection = await self._connect()
                    await self._look(connection)
                except DATABASE_ERRORS as error:
                    log.debug("backlog.unknown", error=repr(error))
                await self._look_at_letters()
                raise_if_cancelled()
                await asyncio.sleep(max(LOOK_SECONDS, _SHARE * (monotonic() - began)))
        finally:
            if connection is not None:
                connection.terminate()

    async def _look(self, connection: asyncpg.Connection) -> None:
        row = await connection.fetchrow(_UNPUBLISHED)
        if row is not None:
            self._oldest = row["oldest"]
            UNPUBLISHED.set(row["number"])

    async def _look_at_letters(self) -> None:
        try:
            DEAD_LETTERS.set(await self._letters.count_dead_letters())
        except BusUnavailableError as error:
            log.debug("backlog.letters_unknown", error=repr(error))

    def _lag(self) -> float:
        return 0.0 if self._oldest is None else max(0.0, (now() - self._oldest).total_seconds())
