"""The outbox as the relay sees it: finds what is unpublished, marks what is published.

All of it goes over the one connection that holds the leader's lock, one statement at a time. A look and the
mark before it share a round trip.
"""

from collections import Counter as Tally
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from prometheus_client import Counter

from chat_api.outbox.record import Recorded, recorded_of

BATCH: Final = 500
"""Events that one look finds at most."""

RELAYED = Counter("roomcast_api_outbox_relayed_total", "Events published and marked so", ["type"])

_LAST_POSITION: Final = "SELECT last_value - CASE WHEN is_called THEN 0 ELSE 1 END FROM events_position"
_NEXT_TRANSACTION: Final = "SELECT pg_current_xact_id()::text::bigint"
"""This statement's own id. A snapshot's upper bound is not it, but one more than the last that has ended."""
_MARK: Final = "UPDATE events SET published_at = now() WHERE id = ANY ($1) AND time >= $2 AND time <= $3"
_LOOK: Final = """
    SELECT pg_snapshot_xmin(seen.by)::text::bigint AS oldest_running, found.*
    FROM (SELECT pg_current_snapshot() AS by) AS seen
    LEFT JOIN LATERAL (
        SELECT * FROM events WHERE published_at IS NULL AND {others} ORDER BY position LIMIT {batch}
    ) AS found ON true
    ORDER BY found.position
"""
_FIRST_LOOK: Final = _LOOK.format(others="true", batch="$1")
"""The bound is a parameter: only what has one is planned anew each time, with the table as it then is."""
_MARK_AND_LOOK: Final = f"WITH marked AS ({_MARK}) " + _LOOK.format(others="id <> ALL ($1)", batch=BATCH)
"""One round trip; what it marks, it does not see as marked yet."""


@dataclass(frozen=True, slots=True)
class Look:
    """The answer of one look.

    Attributes:
        recorded: the first unpublished events, in the order of positions.
        oldest_running: every transaction with a lower id had ended (`pg_snapshot_xmin`).
    """

    recorded: Sequence[Recorded]
    oldest_running: int

    @property
    def is_full(self) -> bool:
        """True when there may be more."""
        return len(self.recorded) == BATCH


class Unpublished:
    """The events that are not marked as published.

    Every method is one statement, and raises OSError, TimeoutError, asyncpg.PostgresError or
    asyncpg.InterfaceError where the connection is lost.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def last_position(self) -> int:
        """Returns the last position that was given out."""
        position: int = await self._connection.fetchval(_LAST_POSITION)
        return position

    async def look(self, published: Sequence[Recorded] = ()) -> Look:
        """Marks `published`, and returns the first events that are unpublished beside them."""
        if published:
            rows = await self._connection.fetch(_MARK_AND_LOOK, *_marked(published))
            _count(published)
        else:
            rows = await self._connection.fetch(_FIRST_LOOK, BATCH)
        recorded = [recorded_of(row) for row in rows if row["position"] is not None]
        return Look(recorded, rows[0]["oldest_running"])

    async def next_transaction(self) -> int:
        """Returns a transaction id that is higher than those of all that have begun to write."""
        transaction: int = await self._connection.fetchval(_NEXT_TRANSACTION)
        return transaction

    async def mark(self, published: Sequence[Recorded]) -> None:
        """Marks events, at least one, as published."""
        await self._connection.execute(_MARK, *_marked(published))
        _count(published)

    async def keep_alive(self) -> None:
        """Shows PostgreSQL that the leader lives."""
        await self._connection.execute("SELECT 1")


def _marked(recorded: Sequence[Recorded]) -> tuple[list[str], Any, Any]:
    """The parameters of a mark; the times tell PostgreSQL in which partitions to look."""
    times = [each.time for each in recorded]
    return [each.event.id for each in recorded], min(times), max(times)


def _count(recorded: Sequence[Recorded]) -> None:
    for type_, number in Tally(each.event.type for each in recorded).items():
        RELAYED.labels(type_).inc(number)
