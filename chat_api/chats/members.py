"""Members of a chat: added, removed, and how far each has read."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chat_api.chats.chats import as_seen
from chat_api.chats.membership import lock_chat
from chat_api.http.problems import Forbidden, NotFound, OwnerCannotLeave, ValidationFailed
from chat_api.outbox import announcements
from chat_api.outbox.record import published, record
from shared import events

TOLD_SECONDS: Final = 2.0
"""How long a removal waits for the gateways to be told of it."""

_MEMBER: Final = text(
    "SELECT member_json(m, false)::text AS body, member_json(m, true)::text AS event_body FROM members m "
    "WHERE m.chat_id = CAST(:chat AS uuid) AND m.user_id = :user"
)
_USER: Final = text("SELECT 1 FROM users WHERE id = :user")
_ADD: Final = text(
    "INSERT INTO members (chat_id, user_id, role, joined_at, own_above_read) "
    "SELECT CAST(:chat AS uuid), :user, 'member', now(), count(*) FROM messages x "
    "WHERE x.chat_id = CAST(:chat AS uuid) AND x.user_id = :user"  # who was a member before
)
_REMOVE: Final = text("DELETE FROM members WHERE chat_id = CAST(:chat AS uuid) AND user_id = :user")
_READ: Final = text(
    "UPDATE members SET last_read_seq = :seq, own_above_read = ("
    "  SELECT count(*) FROM messages x"
    "  WHERE x.chat_id = CAST(:chat AS uuid) AND x.seq > :seq AND x.user_id = :user) "
    "WHERE chat_id = CAST(:chat AS uuid) AND user_id = :user AND last_read_seq < :seq"
)


class Members:
    """The use cases of members. Answers are JSON bytes as the contract writes them."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def add(self, caller_id: str, chat_id: str, user_id: str) -> tuple[bytes, bool]:
        """Adds a user, for the owner; returns the Member, and whether it is new.

        Raises:
            ValidationFailed: there is no such user.
        """
        async with self._engine.begin() as connection:
            membership = await lock_chat(connection, chat_id, caller_id)
            membership.require_owner("add members")
            if (present := await _member(connection, chat_id, user_id)) is not None:
                return present[0].encode(), False
            await _require_user(connection, user_id)
            await connection.execute(_ADD, {"chat": chat_id, "user": user_id})
            body, event_body = await _must_be_member(connection, chat_id, user_id)
            seen = [pair for pair in await as_seen(connection, chat_id) if pair[0] == user_id]
            await record(
                connection,
                *announcements.chat_changed(events.CHAT_CREATED, "chat-created", chat_id, seen),
                announcements.member_changed(
                    events.MEMBER_ADDED, "member-added", chat_id, user_id, event_body
                ),
            )
        return body.encode(), True

    async def remove(self, caller_id: str, chat_id: str, user_id: str) -> None:
        """Removes a member, for the owner, or oneself; nothing posted afterwards reaches the removed.

        Returns when the gateways have been told, or cannot be for now: what reaches them by other ways than
        the outbox, chunks and typing, comes after that.

        Raises:
            OwnerCannotLeave: the owner would be removed.
        """
        async with self._engine.begin() as connection:
            membership = await lock_chat(connection, chat_id, caller_id)
            if membership.role != "owner" and user_id != caller_id:
                raise Forbidden("Only the owner may remove other members.")
            if membership.role == "owner" and user_id == caller_id:
                raise OwnerCannotLeave
            _, event_body = await _must_be_member(connection, chat_id, user_id)
            await connection.execute(_REMOVE, {"chat": chat_id, "user": user_id})
            removed = announcements.member_changed(
                events.MEMBER_REMOVED, "member-removed", chat_id, user_id, event_body
            )
            await record(connection, removed)
        await published(self._engine, removed, seconds=TOLD_SECONDS)

    async def read(self, user_id: str, chat_id: str, seq: int) -> None:
        """Marks everything up to `seq` as read; never goes back, never above the last message."""
        async with self._engine.begin() as connection:
            membership = await lock_chat(connection, chat_id, user_id)
            reached = min(seq, membership.last_seq)
            moved = await connection.execute(_READ, {"chat": chat_id, "user": user_id, "seq": reached})
            if moved.rowcount:
                await record(connection, announcements.chat_read(chat_id, user_id, reached))


async def _member(connection: AsyncConnection, chat_id: str, user_id: str) -> tuple[str, str] | None:
    """Returns the Member as answers have it, and as events do; None when the user is not one."""
    row = (await connection.execute(_MEMBER, {"chat": chat_id, "user": user_id})).one_or_none()
    return None if row is None else (row.body, row.event_body)


async def _must_be_member(connection: AsyncConnection, chat_id: str, user_id: str) -> tuple[str, str]:
    member = await _member(connection, chat_id, user_id)
    if member is None:
        raise NotFound("There is no such member.")
    return member


async def _require_user(connection: AsyncConnection, user_id: str) -> None:
    if (await connection.execute(_USER, {"user": user_id})).one_or_none() is None:
        raise ValidationFailed(errors=[{"field": "userId", "message": "There is no such user."}])
