"""The outbox: events written in the transaction of what they tell, and the relay that publishes them."""

from datetime import datetime

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from chat_api.tables import events as events_table
from shared.events import Event

CHANNEL = "roomcast_outbox"
"""NOTIFY on it is a hint that unpublished events may be there; nothing depends on it arriving."""

_NOTIFY = text(f"SELECT pg_notify('{CHANNEL}', '')")


async def record(connection: AsyncConnection, *events: Event) -> None:
    """Writes events in the caller's transaction; they are published once it has committed, in this order.

    Events of one chat are published in the order of their commits when the caller holds the chat's lock.
    """
    if not events:
        return
    await connection.execute(insert(events_table), [_row(event) for event in events])
    await connection.execute(_NOTIFY)


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
