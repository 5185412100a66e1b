"""Replay: tells which stored events may be published again, and in which form.

Consumers drop an event that comes again, by its id; but gateways and clients remember the latest ids only.
So what is no longer so (a former title, an older wording of a message, a member who has come
back, a reply that nobody waits for) is told apart from what still is.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import asyncpg

from chat_api.outbox.event_store import WHERE, Filter
from chat_api.outbox.record import event_of
from shared.events import MESSAGE_CREATED, Event

PAGE: Final = 500
_EVERY: Final = 2**63 - 1

_STILL_SO: Final = """
CASE
WHEN e.type IN ('message.created', 'message.updated', 'message.deleted') THEN EXISTS (
    SELECT 1 FROM messages m WHERE m.id = a.item AND message_json(m)::text = e.body)
WHEN e.type IN ('chat.created', 'chat.updated') THEN EXISTS (
    SELECT 1 FROM chats c JOIN members m ON m.chat_id = c.id
    WHERE c.id = a.about AND 'user:' || m.user_id = ANY (e.rooms) AND chat_json(c, m)::text = e.body)
WHEN e.type = 'chat.deleted' THEN NOT EXISTS (SELECT 1 FROM chats c WHERE c.id = a.about)
WHEN e.type = 'member.added' THEN EXISTS (
    SELECT 1 FROM members m WHERE m.chat_id = a.about AND m.user_id = a.body ->> 'userId'
       AND member_json(m, true)::text = e.body)
WHEN e.type = 'member.removed' THEN NOT EXISTS (
    SELECT 1 FROM members m WHERE m.chat_id = a.about AND m.user_id = a.body ->> 'userId')
WHEN e.type = 'chat.read' THEN EXISTS (
    SELECT 1 FROM members m WHERE m.chat_id = a.about AND m.user_id = a.body ->> 'userId'
       AND m.last_read_seq::text = a.body ->> 'seq')
WHEN e.type IN ('reply.requested', 'reply.cancel_requested') THEN EXISTS (
    SELECT 1 FROM replies r WHERE r.id = a.about AND r.status = 'requested')
ELSE true END
"""
_UUID: Final = "CASE WHEN ({0}) ~ '^[0-9a-f-]{{36}}$' THEN ({0})::uuid END"
# Put together from the constants above; values are parameters.
_JUDGED: Final = f"""
SELECT e.*, {_STILL_SO} AS still_so,
       (SELECT c.last_seq FROM chats c WHERE c.id = a.about) IS NOT DISTINCT FROM e.seq AS latest
FROM events e
CROSS JOIN LATERAL (SELECT e.body::json AS body) b
CROSS JOIN LATERAL (
    SELECT b.body, {_UUID.format("e.subject")} AS about, {_UUID.format("b.body ->> 'id'")} AS item) a
WHERE e.published_at IS NOT NULL AND e.position > $6 AND e.position <= $7
AND ($8::text[] IS NULL OR e.id = ANY ($8)) AND {WHERE}
ORDER BY e.position LIMIT $9
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Replayable:
    """A published event, as it may be published again.

    Attributes:
        still_so: what it says is so now, and whoever gets it is told nothing outdated.
    """

    event: Event
    still_so: bool


async def replayable(
    connection: asyncpg.Connection,
    which: Filter,
    *,
    ids: Sequence[str] | None = None,
    up_to: int = _EVERY,
) -> AsyncIterator[list[Replayable]]:
    """Yields pages of the published events that are meant, in order, up to a position.

    What is unpublished is the relay's to publish, in its turn.
    """
    position = 0
    while rows := await connection.fetch(_JUDGED, *which.values, position, up_to, ids, PAGE):
        yield [Replayable(_as_now(event_of(row), latest=row["latest"]), row["still_so"]) for row in rows]
        position = rows[-1]["position"]


def _as_now(event: Event, *, latest: bool) -> Event:
    """Returns the event to publish: an older message for the chat alone, as chat lists show a later one."""
    return event if latest or event.type != MESSAGE_CREATED else replace(event, users=())


async def awaited(connection: asyncpg.Connection, replies: Sequence[str]) -> set[str]:
    """Returns those of these replies that somebody waits for."""
    rows = await connection.fetch(
        "SELECT id::text FROM replies WHERE id::text = ANY ($1) AND status = 'requested'", list(replies)
    )
    return {row["id"] for row in rows}
