"""History: pages of messages, and those that a socket missed. Read-only, one statement each."""

from dataclasses import dataclass
from typing import Final

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chat_api.chats.reply_in_progress import Progress
from chat_api.http.problems import NotFound
from shared.store.presence import Presence

MISSED: Final = 200
"""Messages that one `sync` answers at most."""
MISSED_BYTES: Final = 1024 * 1024
"""Content after which `missed` ends early: an acknowledgement has to fit into a frame that clients take."""
PAGE_BYTES: Final = 4 * 1024 * 1024
"""Content after which a page of messages ends early."""
LAST: Final = 2**63 - 1
"""Above every seq; the largest bigint."""

# At most :limit messages, and only the first of them that make :bytes of content, but always one.
_PAGE: Final = (
    "SELECT c.last_seq, x.body, x.found,"
    "  (SELECT r.id FROM replies r WHERE r.chat_id = c.id AND r.status = 'requested')::text AS reply_id "
    "FROM members m JOIN chats c ON c.id = m.chat_id LEFT JOIN LATERAL ("
    "  SELECT z.seq, z.found, message_json(z.row)::text AS body FROM ("
    "    SELECT y.row, y.seq, count(*) OVER () AS found,"
    "      sum(y.size) OVER (ORDER BY y.seq {order} ROWS UNBOUNDED PRECEDING) - y.size AS before"
    "    FROM (SELECT n AS row, n.seq, octet_length(n.content) AS size FROM messages n"
    "      WHERE n.chat_id = c.id AND n.seq {than} :seq ORDER BY n.seq {order} LIMIT :limit) AS y"
    "  ) AS z WHERE z.before < :bytes"
    ") AS x ON true WHERE m.chat_id = CAST(:chat AS uuid) AND m.user_id = :user ORDER BY x.seq"
)
_AFTER: Final = text(_PAGE.format(than=">", order="ASC"))
_BEFORE: Final = text(_PAGE.format(than="<", order="DESC"))


@dataclass(frozen=True, slots=True)
class _Page:
    last_seq: int
    reply_id: str | None
    bodies: list[str]
    found: int
    """How many there are up to the limit; more than `bodies` when these made too many bytes."""


class History:
    """The use cases of reading. Answers are JSON bytes as the contract writes them."""

    def __init__(self, engine: AsyncEngine, progress: Progress, presence: Presence) -> None:
        self._engine = engine
        self._progress = progress
        self._presence = presence

    async def after(self, user_id: str, chat_id: str, seq: int, limit: int) -> bytes:
        """Returns `{items, hasMore}`: the messages right above `seq`, oldest first."""
        page = await self._read(user_id, chat_id, after=min(seq, LAST), limit=limit + 1)
        return _items(page.bodies[:limit], page.found)

    async def before(self, user_id: str, chat_id: str, seq: int, limit: int) -> bytes:
        """Returns `{items, hasMore}`: the messages right below `seq`, oldest first."""
        page = await self._read(user_id, chat_id, before=min(seq, LAST), limit=limit + 1)
        return _items(page.bodies[-limit:], page.found)

    async def sync(self, user_id: str, chat_id: str, after_seq: int | None) -> bytes:
        """Returns the acknowledgement of `join-chat`; `missed` is empty without `after_seq`."""
        limit, seq = (MISSED + 1, min(after_seq, LAST)) if after_seq is not None else (0, LAST)
        page = await self._read(user_id, chat_id, after=seq, limit=limit, size=MISSED_BYTES)
        missed = page.bodies[:MISSED]
        reply = await self._progress.of(page.reply_id)
        online = await self._presence.online(chat_id)
        return b'{"ok":true,"chatId":"%b","lastSeq":%d,"missed":[%b],"hasMore":%b,"reply":%b,"online":%b}' % (
            chat_id.encode(),
            page.last_seq,
            ",".join(missed).encode(),
            b"true" if page.found > len(missed) else b"false",
            orjson.dumps(reply),
            orjson.dumps(online),
        )

    async def _read(
        self,
        user_id: str,
        chat_id: str,
        *,
        after: int | None = None,
        before: int = LAST,
        limit: int,
        size: int = PAGE_BYTES,
    ) -> _Page:
        query, seq = (_BEFORE, before) if after is None else (_AFTER, after)
        async with self._engine.connect() as connection:
            found = {"chat": chat_id, "user": user_id, "seq": seq, "limit": limit, "bytes": size}
            rows = (await connection.execute(query, found)).all()
        if not rows:
            raise NotFound("There is no such chat, or you are not a member of it.")
        bodies = [row.body for row in rows if row.body is not None]
        return _Page(rows[0].last_seq, rows[0].reply_id, bodies, rows[0].found or 0)


def _items(bodies: list[str], found: int) -> bytes:
    has_more = b"true" if found > len(bodies) else b"false"
    return b'{"items":[%b],"hasMore":%b}' % (",".join(bodies).encode(), has_more)
