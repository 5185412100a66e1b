"""Leader election: of all API instances the one that holds an advisory lock relays the outbox."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg
import structlog
from prometheus_client import Gauge

from chat_api.database.connections import DATABASE_ERRORS
from chat_api.outbox.in_flight import Publisher
from chat_api.outbox.record import CHANNEL, Recorded
from chat_api.outbox.relay import LOOK_SECONDS, Relay
from shared.bus import BusUnavailableError
from shared.concurrency.backoff import backoff
from shared.concurrency.waiting import wait_for_event

log = structlog.get_logger()

LEADER_LOCK: Final = 7_262_171_002
"""Advisory lock key: the API instance whose connection holds it relays; another takes over when that goes."""
FREE: Final = "roomcast_outbox_free"
"""NOTIFY on it: the leader has gone in good order, and another may lead at once."""
HAND_OVER_SECONDS: Final = 1.0
GIVE_WAY_SECONDS: Final = 1.5 * LOOK_SECONDS
"""How long the lock is left to the others after the bus failed here: it may be well there."""
SILENCE_SECONDS: Final = 3.0
"""PostgreSQL ends the leader's session, and with it the lock, after so long without a word of it: a leader
that the network has cut off would otherwise keep the lock until TCP gives up, which takes hours."""

LEADER = Gauge("roomcast_api_outbox_leader", "1 while this instance relays the outbox")

_SESSION: Final = f"""
    SET idle_session_timeout = {int(SILENCE_SECONDS * 1000)};
    SET enable_bitmapscan = off;
    SET plan_cache_mode = force_custom_plan
"""
"""The index of unpublished events is full of those published since the last vacuum. An index scan marks them
as dead for the next one; a bitmap scan, which the planner takes to be cheaper, walks them at each look."""


class Leader:
    """Publishes what the outbox holds, in the order of positions, and marks it published once confirmed.

    At least once: what was confirmed but not marked when the leader died is published again. One that is
    cancelled marks what it has published, and hands over.
    """

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]], publisher: Publisher) -> None:
        self._connect = connect
        self._publisher = publisher
        self._relay: Relay | None = None
        self._free = asyncio.Event()

    @property
    def leads(self) -> bool:
        """True while this instance relays."""
        return self._relay is not None and self._relay.accepts_offers

    def offer(self, recorded: Sequence[Recorded]) -> bool:
        """Takes events that have just been committed here, in order, to publish them without a look.

        Returns:
            Whether this instance leads. If not, whoever does has to be notified.
        """
        if self._relay is None or not self._relay.accepts_offers:
            return False
        self._relay.offer(recorded)
        return True

    async def run(self) -> None:
        """Leads whenever nobody else does, until cancelled; what fails is tried again."""
        pauses = backoff(most=LOOK_SECONDS)
        while True:
            try:
                async with self._connected() as connection:
                    await self._until_leader(connection)
                    pauses = backoff(most=LOOK_SECONDS)
                    await self._lead(connection)
            except DATABASE_ERRORS as error:
                log.warning("outbox.database_away", error=repr(error))
            except BusUnavailableError as error:
                log.warning("outbox.bus_away", error=str(error))
                await asyncio.sleep(GIVE_WAY_SECONDS)
            await asyncio.sleep(next(pauses))

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await self._connect()
        try:
            await connection.execute(_SESSION)
            await connection.add_listener(FREE, lambda *_: self._free.set())
            yield connection
        finally:
            connection.terminate()

    async def _until_leader(self, connection: asyncpg.Connection) -> None:
        # PostgreSQL tells nobody that an advisory lock is free without blocking a connection on it.
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LEADER_LOCK):
            await wait_for_event(self._free, seconds=LOOK_SECONDS)
            self._free.clear()

    async def _lead(self, connection: asyncpg.Connection) -> None:
        relay = Relay(connection, self._publisher)
        connection.add_termination_listener(lambda _: relay.hint())
        await connection.add_listener(CHANNEL, lambda *_: relay.hint())
        self._relay = relay
        LEADER.set(1)
        log.info("outbox.leading")
        try:
            await relay.run()
        except asyncio.CancelledError:
            await _hand_over(connection)
            raise
        finally:
            self._relay = None
            LEADER.set(0)


async def _hand_over(connection: asyncpg.Connection) -> None:
    with suppress(*DATABASE_ERRORS):
        async with asyncio.timeout(HAND_OVER_SECONDS):
            await connection.execute(f"SELECT pg_advisory_unlock({LEADER_LOCK}), pg_notify('{FREE}', '')")
