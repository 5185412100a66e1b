"""Permissions in a chat: the first thing that every use case asks for."""

from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chat_api.http.problems import Forbidden, NotFound

_LOCK: Final = text("SELECT 1 FROM chats WHERE id = CAST(:chat AS uuid) FOR NO KEY UPDATE")
_MEMBERSHIP: Final = text(
    "SELECT m.role, c.last_seq FROM members m JOIN chats c ON c.id = m.chat_id "
    "WHERE m.chat_id = CAST(:chat AS uuid) AND m.user_id = :user"
)


@dataclass(frozen=True, slots=True)
class Membership:
    """A member's standing in a chat, read while the chat is locked."""

    chat_id: str
    user_id: str
    role: Literal["owner", "member"]
    last_seq: int

    def require_owner(self, action: str) -> None:
        """Raises `Forbidden` unless the member owns the chat; `action` completes "Only the owner may …"."""
        if self.role != "owner":
            raise Forbidden(f"Only the owner may {action}.")


async def lock_chat(connection: AsyncConnection, chat_id: str, user_id: str) -> Membership:
    """Locks the chat until the transaction ends, and returns the user's membership.

    So the chat's changes and their events commit in the order of their locks.

    Raises:
        NotFound: no such chat, or the user is not a member of it; the two look alike.
    """
    await connection.execute(_LOCK, {"chat": chat_id})
    # A statement of its own: its snapshot is newer than the lock.
    row = (await connection.execute(_MEMBERSHIP, {"chat": chat_id, "user": user_id})).one_or_none()
    if row is None:
        raise NotFound("There is no such chat, or you are not a member of it.")
    return Membership(chat_id, user_id, row.role, row.last_seq)
