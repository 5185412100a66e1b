"""Chats: created, listed, shown, changed and deleted; each change in one transaction with its events."""

from collections.abc import Sequence
from typing import Any, Final

import orjson
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chat_api.chats.membership import lock_chat
from chat_api.chats.models import ChatChanges, NewChat
from chat_api.chats.reply_in_progress import Progress
from chat_api.database import tables
from chat_api.http.cursors import Cursor
from chat_api.http.problems import NotFound, ValidationFailed
from chat_api.outbox import announcements
from chat_api.outbox.record import record
from shared import events
from shared.ids import new_id, now

DETAIL_MESSAGES: Final = 20

_UNKNOWN_USERS: Final = text(
    "SELECT wanted.id FROM unnest(CAST(:ids AS text[])) AS wanted (id) "
    "LEFT JOIN users u ON u.id = wanted.id WHERE u.id IS NULL"
)
_AS_SEEN: Final = text(
    "SELECT m.user_id, chat_json(c, m)::text AS body FROM chats c JOIN members m ON m.chat_id = c.id "
    "WHERE c.id = CAST(:chat AS uuid) ORDER BY m.user_id"
)
_PAGE: Final = text(
    "SELECT chat_json(p.c, p.m)::text AS body, p.id::text, p.updated_at FROM ("
    "  SELECT c, m, c.id, c.updated_at FROM members m JOIN chats c ON c.id = m.chat_id"
    "  WHERE m.user_id = :user AND (CAST(:time AS timestamptz) IS NULL"
    "    OR (c.updated_at, c.id) < (CAST(:time AS timestamptz), CAST(:id AS uuid)))"
    "  ORDER BY c.updated_at DESC, c.id DESC LIMIT :limit"
    ") AS p ORDER BY p.updated_at DESC, p.id DESC"
)
_DETAIL: Final = text(
    "SELECT chat_json(c, m)::text AS chat,"
    "  (SELECT json_agg(member_json(x, false) ORDER BY x.role DESC, x.joined_at, x.user_id)"
    "   FROM members x WHERE x.chat_id = c.id)::text AS members,"
    "  (SELECT coalesce(json_agg(message_json(x.row) ORDER BY x.seq), '[]') FROM"
    "    (SELECT y AS row, y.seq FROM messages y WHERE y.chat_id = c.id"
    "     ORDER BY y.seq DESC LIMIT :limit) AS x)::text AS msgs,"
    "  (SELECT r.id FROM replies r WHERE r.chat_id = c.id AND r.status = 'requested')::text AS reply_id "
    "FROM chats c JOIN members m ON m.chat_id = c.id "
    "WHERE c.id = CAST(:chat AS uuid) AND m.user_id = :user"
)
_CHANGE: Final = text(
    "UPDATE chats SET title = CASE WHEN :set_title THEN :title ELSE title END,"
    "  assistant = CASE WHEN :set_assistant THEN :assistant ELSE assistant END,"
    "  context = CASE WHEN :set_context THEN CAST(:context AS json) ELSE context END,"
    "  updated_at = :now "
    "WHERE id = CAST(:chat AS uuid)"
)
_USERS: Final = text("SELECT user_id FROM members WHERE chat_id = CAST(:chat AS uuid) ORDER BY user_id")
_BEING_WRITTEN: Final = text(
    "SELECT id::text FROM replies WHERE chat_id = CAST(:chat AS uuid) AND status = 'requested'"
)
_DELETE_MESSAGES: Final = text("DELETE FROM messages WHERE chat_id = CAST(:chat AS uuid)")
_DELETE_CHAT: Final = text("DELETE FROM chats WHERE id = CAST(:chat AS uuid)")


class Chats:
    """The use cases of chats. Answers are JSON bytes as the contract writes them."""

    def __init__(self, engine: AsyncEngine, progress: Progress) -> None:
        self._engine = engine
        self._progress = progress

    async def create(self, owner_id: str, new: NewChat) -> bytes:
        """Creates a chat with its members; returns the Chat as its owner sees it.

        Raises:
            ValidationFailed: a member is not a user; no chat is made.
        """
        others = [user for user in dict.fromkeys(new.member_ids) if user != owner_id]
        chat_id = new_id()
        async with self._engine.begin() as connection:
            await _require_users(connection, new.member_ids, others)
            await connection.execute(
                insert(tables.chats), _chat_row(chat_id, owner_id, new, alone=not others)
            )
            await connection.execute(insert(tables.members), _member_rows(chat_id, owner_id, others))
            seen = await as_seen(connection, chat_id)
            await record(
                connection, *announcements.chat_changed(events.CHAT_CREATED, "chat-created", chat_id, seen)
            )
        return dict(seen)[owner_id].encode()

    async def page(self, user_id: str, limit: int, cursor: str | None) -> bytes:
        """Returns `{items, nextCursor}`: the user's chats, latest activity first."""
        after = None if cursor is None else Cursor.parse(cursor)
        found = {"user": user_id, "limit": limit + 1, "time": after and after.time, "id": after and after.id}
        async with self._engine.connect() as connection:
            rows = (await connection.execute(_PAGE, found)).all()
        shown = rows[:limit]
        following = Cursor(shown[-1].updated_at, shown[-1].id).text() if len(rows) > limit else None
        items = ",".join(row.body for row in shown)
        return b'{"items":[%b],"nextCursor":%b}' % (items.encode(), orjson.dumps(following))

    async def detail(self, user_id: str, chat_id: str) -> bytes:
        """Returns the Chat with `members`, `msgs` (the last 20, oldest first) and `reply`."""
        found = {"chat": chat_id, "user": user_id, "limit": DETAIL_MESSAGES}
        async with self._engine.connect() as connection:
            row = (await connection.execute(_DETAIL, found)).one_or_none()
        if row is None:
            raise NotFound
        reply = await self._progress.of(row.reply_id)
        return b'%b,"members":%b,"msgs":%b,"reply":%b}' % (
            row.chat.encode()[:-1],
            row.members.encode(),
            row.msgs.encode(),
            orjson.dumps(reply),
        )

    async def change(self, user_id: str, chat_id: str, changes: ChatChanges) -> bytes:
        """Changes what was sent of title, assistant and context; returns the Chat as the caller sees it."""
        sent = changes.model_fields_set
        values = {
            "chat": chat_id,
            "now": now(),
            "title": changes.title,
            "assistant": changes.assistant,
            "context": _json(changes.context),
            **{f"set_{field}": field in sent for field in ("title", "assistant", "context")},
        }
        async with self._engine.begin() as connection:
            await lock_chat(connection, chat_id, user_id)
            await connection.execute(_CHANGE, values)
            seen = await as_seen(connection, chat_id)
            await record(
                connection, *announcements.chat_changed(events.CHAT_UPDATED, "chat-updated", chat_id, seen)
            )
        return dict(seen)[user_id].encode()

    async def delete(self, user_id: str, chat_id: str) -> None:
        """Deletes the chat, its messages and replies; for its owner."""
        async with self._engine.begin() as connection:
            membership = await lock_chat(connection, chat_id, user_id)
            membership.require_owner("delete the chat")
            users = (await connection.execute(_USERS, {"chat": chat_id})).scalars().all()
            written = (await connection.execute(_BEING_WRITTEN, {"chat": chat_id})).scalars().all()
            await connection.execute(_DELETE_MESSAGES, {"chat": chat_id})
            await connection.execute(_DELETE_CHAT, {"chat": chat_id})
            await record(
                connection,
                announcements.chat_deleted(chat_id, users),
                *(announcements.cancel_requested(chat_id, reply, user_id) for reply in written),
            )


async def as_seen(connection: AsyncConnection, chat_id: str) -> list[tuple[str, str]]:
    """Returns pairs of user id and the chat's JSON as that member sees it."""
    rows = await connection.execute(_AS_SEEN, {"chat": chat_id})
    return [(row.user_id, row.body) for row in rows]


async def _require_users(connection: AsyncConnection, sent: Sequence[str], wanted: Sequence[str]) -> None:
    if not wanted:
        return
    unknown = set((await connection.execute(_UNKNOWN_USERS, {"ids": list(wanted)})).scalars())
    if unknown:
        raise ValidationFailed(
            "Some of the members are not users.",
            errors=[
                {"field": f"memberIds.{at}", "message": "There is no such user."}
                for at, user in enumerate(sent)
                if user in unknown
            ],
        )


def _chat_row(chat_id: str, owner_id: str, new: NewChat, *, alone: bool) -> dict[str, Any]:
    created = now()
    return {
        "id": chat_id,
        "title": new.title,
        "owner_id": owner_id,
        "assistant": new.assistant or ("always" if alone else "mention"),
        "context": new.context,
        "last_seq": 0,
        "created_at": created,
        "updated_at": created,
    }


def _member_rows(chat_id: str, owner_id: str, others: Sequence[str]) -> list[dict[str, Any]]:
    joined = now()
    common = {"chat_id": chat_id, "joined_at": joined, "last_read_seq": 0, "own_above_read": 0}
    return [
        {**common, "user_id": owner_id, "role": "owner"},
        *({**common, "user_id": user, "role": "member"} for user in others),
    ]


def _json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else orjson.dumps(value).decode()
