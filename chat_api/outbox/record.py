"""Recording: events are written in the transaction of the change that they tell of."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg
import structlog
from sqlalchemy import insert, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chat_api.database.connections import DATABASE_ERRORS
from chat_api.database.tables import events as events_table
from shared.concurrency.backoff import backoff
from shared.events import Event
from shared.ids import rfc3339

log = structlog.get_logger()

CHANNEL: Final = "roomcast_outbox"
"""NOTIFY on it is a hint that unpublished events may be there; nothing depends on it arriving."""

NOTIFY: Final = f"SELECT pg_notify('{CHANNEL}', '')"
_NOTIFY = text(NOTIFY)
_IS_PUBLISHED = text("SELECT published_at IS NOT NULL FROM events WHERE id = :id AND time = :time")


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event that stands in the outbox, with its position and time there."""

    position: int
    time: datetime
    event: Event


async def record(connection: AsyncConnection, *events: Event) -> None:
    """Writes events in the caller's transaction; they are published once it has committed, in this order.

    Events of one chat are published in the order of their commits when the caller holds the chat's lock.
    """
    if events:
        await record_quietly(connection, *events)
        await connection.execute(_NOTIFY)


async def record_quietly(connection: AsyncConnection, *events: Event) -> None:
    """Does the same for a transaction that notifies the relay otherwise, as `append_message` does."""
    if events:
        await connection.execute(insert(events_table), [_row(event) for event in events])


async def published(engine: AsyncEngine, event: Event, *, seconds: float) -> bool:
    """Waits until an event that was recorded is on the bus, for `seconds` at most; returns whether it is."""
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


def event_of(row: asyncpg.Record) -> Event:
    """Returns the event that a row of `events` holds."""
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


def recorded_of(row: asyncpg.Record) -> Recorded:
    """Returns the event of a row with its place."""
    return Recorded(row["position"], row["time"], event_of(row))
