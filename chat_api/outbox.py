"""The outbox: events written in the transaction of what they tell, and the relay that publishes them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar

import asyncpg
import structlog
from prometheus_client import Counter, Gauge
from sqlalchemy import insert, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chat_api.database import DATABASE_ERRORS
from chat_api.tables import events as events_table
from shared.bus import BusUnavailableError
from shared.events import Event
from shared.ids import rfc3339
from shared.runtime import backoff

log = structlog.get_logger()

T = TypeVar("T")

CHANNEL: Final = "roomcast_outbox"
"""NOTIFY on it is a hint that unpublished events may be there; nothing depends on it arriving."""

_NOTIFY = text(f"SELECT pg_notify('{CHANNEL}', '')")
_IS_PUBLISHED = text("SELECT published_at IS NOT NULL FROM events WHERE id = :id AND time = :time")


async def record(connection: AsyncConnection, *events: Event) -> None:
    """Writes events in the caller's transaction; they are published once it has committed, in this order.

    Events of one chat are published in the order of their commits when the caller holds the chat's lock.
    """
    if not events:
        return
    await connection.execute(insert(events_table), [_row(event) for event in events])
    await connection.execute(_NOTIFY)


async def published(engine: AsyncEngine, event: Event, *, seconds: float) -> bool:
    """Waits until an event that was recorded is on the bus, for `seconds` at most; whether it is."""
    asked = {"id": event.id, "time": datetime.fromisoformat(event.time)}
    try:
        async with asyncio.timeout(seconds):
            for pause in backoff(first=0.01, most=0.1):
                async with engine.connect() as connection:
                    if await connection.scalar(_IS_PUBLISHED, asked):
                        return True
                await asyncio.sleep(pause)
    except (*DATABASE_ERRORS, SQLAlchemyError) as error:
        log.info("outbox.not_published_yet", type=event.type, id=event.id, reason=type(error).__name__)
    return False


def _row(event: Event) -> dict[str, object]:
    return {
        "id": event.id,
        "time": datetime.fromisoformat(event.time),
        "type": event.type,
        "source": event.source,
        "subject": event.subject,
        "name": event.name,
        "rooms": list(event.rooms),
        "users": list(event.users),
        "seq": event.seq,
        "everywhere": event.everywhere,
        "request_id": event.request_id,
        "traceparent": event.traceparent,
        "body": event.body.decode(),
    }


LEADER_LOCK: Final = 7_262_171_002
"""Advisory lock key: the API instance whose connection holds it relays; another takes over when that goes."""
BATCH: Final = 500
LOOK_SECONDS: Final = 1.0
"""How often the leader looks without a hint, and the others ask whether they can lead."""
FREE: Final = "roomcast_outbox_free"
"""NOTIFY on it: the leader has gone in good order, and another may lead at once."""
FINISH_SECONDS: Final = 3.0
"""How long a leader that is told to stop goes on with what it is publishing."""
HAND_OVER_SECONDS: Final = 1.0
GIVE_WAY_SECONDS: Final = 1.5 * LOOK_SECONDS
"""How long the lock is left to the others after the bus failed here: it may be well there."""
SILENCE_SECONDS: Final = 3.0
"""PostgreSQL ends the leader's session, and with it the lock, after so long without a word of it: a leader
that the network has cut off would otherwise keep the lock until TCP gives up, which takes hours."""

LEADER = Gauge("roomcast_api_outbox_leader", "1 while this instance relays the outbox")
RELAYED = Counter("roomcast_api_outbox_relayed_total", "Events published and marked so", ["type"])

_SESSION: Final = f"""
    SET idle_session_timeout = {int(SILENCE_SECONDS * 1000)};
    SET enable_bitmapscan = off;
    SET plan_cache_mode = force_custom_plan
"""
"""The index of unpublished events is full of those published since the last vacuum. An index scan marks them
as dead for the next one; a bitmap scan, which the planner takes to be cheaper, walks them at each look."""
_UNPUBLISHED: Final = "SELECT * FROM events WHERE published_at IS NULL ORDER BY position LIMIT $1"
_MARK_AND_NEXT: Final = """
    WITH marked AS (
        UPDATE events SET published_at = now() WHERE id = ANY ($2) AND time >= $3 AND time <= $4
    )
    SELECT * FROM events WHERE published_at IS NULL AND id <> ALL ($2) ORDER BY position LIMIT $1
"""
"""One round trip; what it marks, it does not see as marked yet."""


class Publisher(Protocol):
    """Where the relay hands its events to."""

    async def publish(self, events: Sequence[Event]) -> None:
        """Publishes in order; returns when every one is confirmed, raises BusUnavailableError otherwise."""
        ...


class Relay:
    """Publishes what the outbox holds, in the order of positions, and marks it published once confirmed.

    At least once: what was confirmed but not marked when the leader died is published again. Of all instances
    one leads, by an advisory lock on its connection; one that is cancelled marks what it has published, and
    hands over.
    """

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]], publisher: Publisher) -> None:
        self._connect = connect
        self._publisher = publisher
        self._hint = asyncio.Event()
        self._free = asyncio.Event()

    async def run(self) -> None:
        """Leads whenever nobody else does, until cancelled; what fails is tried again."""
        pauses = backoff(most=LOOK_SECONDS)
        while True:
            try:
                async with self._connected() as connection:
                    await self._until_leader(connection)
                    pauses = backoff(most=LOOK_SECONDS)
                    try:
                        await self._lead(connection)
                    except asyncio.CancelledError:
                        await _hand_over(connection)
                        raise
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
            connection.add_termination_listener(lambda _: self._hint.set())
            await connection.add_listener(CHANNEL, lambda *_: self._hint.set())
            await connection.add_listener(FREE, lambda *_: self._free.set())
            yield connection
        finally:
            LEADER.set(0)
            connection.terminate()

    async def _until_leader(self, connection: asyncpg.Connection) -> None:
        # PostgreSQL tells nobody that an advisory lock is free without blocking a connection on it.
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LEADER_LOCK):
            await _within(LOOK_SECONDS, self._free)
            self._free.clear()
        LEADER.set(1)
        log.info("outbox.leading")

    async def _lead(self, connection: asyncpg.Connection) -> None:
        self._hint.set()
        while True:
            await _within(LOOK_SECONDS, self._hint)
            self._hint.clear()
            rows: Sequence[asyncpg.Record] = await connection.fetch(_UNPUBLISHED, BATCH)
            while rows:
                rows = await _finished(self._relay(connection, rows))

    async def _relay(
        self, connection: asyncpg.Connection, rows: Sequence[asyncpg.Record]
    ) -> Sequence[asyncpg.Record]:
        """Publishes a batch and marks it; gives the next."""
        await self._publish(connection, [event_of(row) for row in rows])
        times = [row["time"] for row in rows]
        self._hint.clear()
        following: Sequence[asyncpg.Record] = await connection.fetch(
            _MARK_AND_NEXT, BATCH, [row["id"] for row in rows], min(times), max(times)
        )
        for row in rows:
            RELAYED.labels(row["type"]).inc()
        return following

    async def _publish(self, connection: asyncpg.Connection, events: Sequence[Event]) -> None:
        publishing = asyncio.ensure_future(self._publisher.publish(events))
        try:
            while not (await asyncio.wait([publishing], timeout=LOOK_SECONDS))[0]:
                await connection.execute("SELECT 1")  # the leader lives, however long the bus takes
            await publishing
        finally:
            publishing.cancel()
            await asyncio.wait([publishing])


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Waits for an event, but no longer than that."""
    # `wait_for` of Python 3.11 may swallow a cancellation.
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _finished(relaying: Coroutine[Any, Any, T]) -> T:
    """Relays a batch, and when cancelled goes on for a bound: the next leader would publish it again."""
    task = asyncio.create_task(relaying)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=FINISH_SECONDS)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise


async def _hand_over(connection: asyncpg.Connection) -> None:
    with suppress(*DATABASE_ERRORS):
        async with asyncio.timeout(HAND_OVER_SECONDS):
            await connection.execute(f"SELECT pg_advisory_unlock({LEADER_LOCK}), pg_notify('{FREE}', '')")


def event_of(row: asyncpg.Record) -> Event:
    """The event that a row of `events` holds."""
    return Event(
        type=row["type"],
        body=row["body"].encode(),
        source=row["source"],
        subject=row["subject"],
        name=row["name"],
        rooms=tuple(row["rooms"]),
        seq=row["seq"],
        users=tuple(row["users"]),
        everywhere=row["everywhere"],
        request_id=row["request_id"],
        traceparent=row["traceparent"],
        id=row["id"],
        time=rfc3339(row["time"]),
    )
