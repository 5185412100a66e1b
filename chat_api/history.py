"""What was said: pages of messages, and what a socket missed. Read-only, one statement each."""

from dataclasses import dataclass
from typing import Final

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chat_api.problems import NotFound
from chat_api.progress import Progress
from shared.presence import Presence

MISSED: Final = 200
"""Messages that one `sync` answers at most."""
LAST: Final = 2**63 - 1
"""Above every seq; the largest bigint."""

_PAGE: Final = (
    "SELECT c.last_seq, x.body,"
    "  (SELECT r.id FROM replies r WHERE r.chat_id = c.id AND r.status = 'requested')::text AS reply_id "
    "FROM members m JOIN chats c ON c.id = m.chat_id LEFT JOIN LATERAL ("
    "  SELECT y.seq, message_json(y)::text AS body FROM messages y"
    "  WHERE y.chat_id = c.id AND {} LIMIT :limit"
    ") AS x ON true WHERE m.chat_id = CAST(:chat AS uuid) AND m.user_id = :user ORDER BY x.seq"
)
_AFTER: Final = text(_PAGE.format("y.seq > :seq ORDER BY y.seq"))
_BEFORE: Final = text(_PAGE.format("y.seq < :seq ORDER BY y.seq DESC"))


@dataclass(frozen=True, slots=True)
class _Page:
    last_seq: int
    reply_id: str | None
    bodies: list[str]


class History:
    """The use cases of reading. Answers are JSON bytes as the contract writes them."""

    def __init__(self, engine: AsyncEngine, progress: Progress, presence: Presence) -> None:
        self._engine = engine
        self._progress = progress
        self._presence = presence

    async def after(self, user_id: str, chat_id: str, seq: int, limit: int) -> bytes:
        """`{items, hasMore}`: the messages right above `seq`, oldest first."""
        page = await self._read(user_id, chat_id, after=min(seq, LAST), limit=limit + 1)
        return _items(page.bodies[:limit], has_more=len(page.bodies) > limit)

    async def before(self, user_id: str, chat_id: str, seq: int, limit: int) -> bytes:
        """`{items, hasMore}`: the messages right below `seq`, oldest first."""
        page = await self._read(user_id, chat_id, before=min(seq, LAST), limit=limit + 1)
        return _items(page.bodies[-limit:], has_more=len(page.bodies) > limit)

    async def sync(self, user_id: str, chat_id: str, after_seq: int | None) -> bytes:
        """What the acknowledgement of `join-chat` holds; `missed` is empty without `after_seq`."""
        limit, seq = (MISSED + 1, min(after_seq, LAST)) if after_seq is not None else (0, LAST)
        page = await self._read(user_id, chat_id, after=seq, limit=limit)
        reply = await self._progress.of(chat_id, page.reply_id)
        online = await self._presence.online(chat_id)
        return b'{"ok":true,"chatId":"%b","lastSeq":%d,"missed":[%b],"hasMore":%b,"reply":%b,"online":%b}' % (
            chat_id.encode(),
            page.last_seq,
            ",".join(page.bodies[:MISSED]).encode(),
            b"true" if len(page.bodies) > MISSED else b"false",
            orjson.dumps(reply),
            orjson.dumps(online),
        )

    async def _read(
        self, user_id: str, chat_id: str, *, after: int | None = None, before: int = LAST, limit: int
    ) -> _Page:
        query, seq = (_BEFORE, before) if after is None else (_AFTER, after)
        async with self._engine.connect() as connection:
            found = {"chat": chat_id, "user": user_id, "seq": seq, "limit": limit}
            rows = (await connection.execute(query, found)).all()
        if not rows:
            raise NotFound("There is no such chat, or you are not a member of it.")
        return _Page(rows[0].last_seq, rows[0].reply_id, [row.body for row in rows if row.body is not None])


def _items(bodies: list[str], *, has_more: bool) -> bytes:
    return b'{"items":[%b],"hasMore":%b}' % (",".join(bodies).encode(), b"true" if has_more else b"false")
