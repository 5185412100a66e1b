"""The event store, for operators: every event that was ever recorded, in the order of positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from chat_api.outbox.record import event_of
from shared.events import Event


@dataclass(frozen=True, slots=True)
class Filter:
    """A choice of events; None and empty leave open.

    Attributes:
        chat: a chat's id: events about it, into its room, and requests for replies in it.
        types: any of these types.
        since, until: of a time in [since, until).
        unpublished: only those that the relay has yet to publish.
    """

    chat: str | None = None
    types: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    unpublished: bool = False

    @property
    def values(self) -> tuple[object, ...]:
        """The first parameters of a statement with `WHERE`."""
        return self.chat, list(self.types), self.since, self.until, self.unpublished


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event in the store.

    Attributes:
        position: its place in the order of publishing.
        published_at: when the bus had confirmed it, as far as that is marked.
    """

    position: int
    published_at: datetime | None
    event: Event


WHERE: Final = (  # of events e; parameters 1 to 5
    "($1::text IS NULL OR e.subject = $1 OR 'chat:' || $1 = ANY (e.rooms)"
    "  OR CASE WHEN e.type = 'reply.requested' THEN e.body::json ->> 'chatId' = $1 END) "
    "AND (cardinality($2::text[]) = 0 OR e.type = ANY ($2)) "
    "AND ($3::timestamptz IS NULL OR e.time >= $3) AND ($4::timestamptz IS NULL OR e.time < $4) "
    "AND (NOT $5::boolean OR e.published_at IS NULL)"
)
# The SQL below is put together from these constants alone; values are parameters.
_BEFORE: Final = (
    f"SELECT e.* FROM events e WHERE {WHERE} AND e.position < $6 ORDER BY e.position DESC LIMIT $7"  # noqa: S608
)
_AFTER: Final = f"SELECT e.* FROM events e WHERE {WHERE} AND e.position > $6 ORDER BY e.position LIMIT $7"  # noqa: S608
_AT: Final = f"SELECT e.* FROM events e WHERE {WHERE} AND e.position = ANY ($6) ORDER BY e.position"  # noqa: S608
_BY_ID: Final = "SELECT e.* FROM events e WHERE e.id = $1 ORDER BY e.position"

_RECENT: Final = (
    "SELECT e.position FROM events e WHERE e.position > $1 OR e.position = ANY ($2::bigint[]) "
    "ORDER BY e.position LIMIT $3"
)


def stored(row: asyncpg.Record) -> StoredEvent:
    """Returns the event of a whole row of `events`."""
    return StoredEvent(row["position"], row["published_at"], event_of(row))


class EventStore:
    """Reads the store over one connection."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def before(self, which: Filter, position: int, limit: int) -> list[StoredEvent]:
        """Returns the last ones below `position`, oldest first."""
        return [stored(row) for row in reversed(await self._rows(_BEFORE, which, position, limit))]

    async def after(self, which: Filter, position: int, limit: int) -> list[StoredEvent]:
        """Returns the first ones above `position`, oldest first."""
        return [stored(row) for row in await self._rows(_AFTER, which, position, limit)]

    async def at(self, which: Filter, positions: Sequence[int]) -> list[StoredEvent]:
        """Returns those at `positions`."""
        return [stored(row) for row in await self._rows(_AT, which, positions)]

    async def get(self, event_id: str) -> StoredEvent | None:
        """Returns the event with this id; None when there is none."""
        rows = await self._connection.fetch(_BY_ID, event_id)
        return stored(rows[-1]) if rows else None

    async def last(self) -> int:
        """Returns the highest position; 0 when there is none."""
        position: int = await self._connection.fetchval("SELECT coalesce(max(position), 0) FROM events")
        return position

    async def positions(self, above: int, also: Sequence[int], limit: int) -> list[int]:
        """Returns the positions above one, and those of `also` that are there, lowest first."""
        return [row["position"] for row in await self._connection.fetch(_RECENT, above, also, limit)]

    async def _rows(self, query: str, which: Filter, *more: object) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self._connection.fetch(query, *which.values, *more)
        return rows
