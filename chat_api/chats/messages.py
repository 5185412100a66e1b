"""Messages: posted, edited and deleted."""

import hashlib
import re
from typing import Any, Final, assert_never
from uuid import UUID

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chat_api.chats.group_commit import Post, Poster, PostingUnavailableError, Verdict
from chat_api.chats.membership import lock_chat
from chat_api.chats.models import NewMessage
from chat_api.http.problems import (
    Deleted,
    Forbidden,
    IdempotencyMismatch,
    NotFound,
    ReplyNotFound,
    TokenInvalid,
    Unavailable,
)
from chat_api.outbox import announcements
from chat_api.outbox.record import record
from shared import events
from shared.ids import canonical_uuid, new_id, now
from shared.telemetry.correlation import current_request_id, current_traceparent

_MENTION: Final = re.compile(r"(?<!\w)@assistant(?!\w)", re.IGNORECASE)
NO_MESSAGE: Final = str(UUID(int=0))
"""What a `replyTo` that is no UUID stands for."""
_MESSAGE: Final = text(
    "SELECT user_id, deleted_at FROM messages "
    "WHERE chat_id = CAST(:chat AS uuid) AND id = CAST(:message AS uuid)"
)
_EDIT: Final = text(
    "UPDATE messages x SET content = :content, edited_at = :now "
    "WHERE chat_id = CAST(:chat AS uuid) AND id = CAST(:message AS uuid) RETURNING message_json(x)::text"
)
_CANCEL_QUEUED_REPLY: Final = text(
    "UPDATE replies SET status = 'cancelled', ended_at = now() "
    "WHERE chat_id = CAST(:chat AS uuid) AND reply_to = CAST(:message AS uuid) AND status = 'queued'"
)
"""Takes back the question that a message was, if its answer has not begun."""
_DELETE: Final = text(
    "UPDATE messages x SET content = '', deleted_at = :now "
    "WHERE chat_id = CAST(:chat AS uuid) AND id = CAST(:message AS uuid) RETURNING message_json(x)::text"
)


class Messages:
    """The use cases of messages. Answers are JSON bytes as the contract writes them."""

    def __init__(self, engine: AsyncEngine, poster: Poster) -> None:
        self._engine = engine
        self._poster = poster

    async def post(
        self, user_id: str, session_id: str, new: NewMessage, key: str | None
    ) -> tuple[bytes, bool]:
        """Stores a message with its event; returns the Message, and whether it is an earlier post's replay.

        Finds out itself whether the session has ended.

        Raises:
            Unavailable: the database did not answer; posting again with the same key is safe.
        """
        try:
            outcome = await self._poster.post(_post(user_id, session_id, new, key))
        except PostingUnavailableError:
            raise Unavailable(
                "The message could not be stored in time. Post it again with the same Idempotency-Key."
            ) from None
        match outcome.verdict:
            case Verdict.CREATED | Verdict.REPLAYED:
                return outcome.body, outcome.verdict is Verdict.REPLAYED
            case Verdict.SESSION_ENDED:
                raise TokenInvalid
            case Verdict.NOT_FOUND:
                raise NotFound("There is no such chat, or you are not a member of it.")
            case Verdict.IDEMPOTENCY_MISMATCH:
                raise IdempotencyMismatch
            case Verdict.REPLY_NOT_FOUND:
                raise ReplyNotFound
            case Verdict.AGAIN:
                raise Unavailable("Another post with this Idempotency-Key is being stored.")
            case _:
                assert_never(outcome.verdict)

    async def edit(self, user_id: str, chat_id: str, message_id: str, content: str) -> bytes:
        """Replaces the content, for its author; returns the Message."""
        async with self._engine.begin() as connection:
            await lock_chat(connection, chat_id, user_id)
            message = await _message(connection, chat_id, message_id)
            if message.user_id != user_id:
                raise Forbidden("Only its author may edit a message.")
            if message.deleted_at is not None:
                raise Deleted
            body = await _change(connection, _EDIT, chat_id, message_id, content=content)
            await record(
                connection,
                announcements.message_changed(events.MESSAGE_UPDATED, "msg-updated", chat_id, body),
            )
        return body.encode()

    async def delete(self, user_id: str, chat_id: str, message_id: str) -> None:
        """Leaves a tombstone, for the author or the chat's owner; again: nothing happens."""
        async with self._engine.begin() as connection:
            membership = await lock_chat(connection, chat_id, user_id)
            message = await _message(connection, chat_id, message_id)
            if message.user_id != user_id:
                membership.require_owner("delete messages of others")
            if message.deleted_at is not None:
                return
            body = await _change(connection, _DELETE, chat_id, message_id)
            await connection.execute(_CANCEL_QUEUED_REPLY, {"chat": chat_id, "message": message_id})
            await record(
                connection,
                announcements.message_changed(events.MESSAGE_DELETED, "msg-deleted", chat_id, body),
            )


def _post(user_id: str, session_id: str, new: NewMessage, key: str | None) -> Post:
    chat_id = canonical_uuid(new.chat_id)
    if chat_id is None:
        raise NotFound("There is no such chat, or you are not a member of it.")
    reply_to = None if new.reply_to is None else canonical_uuid(new.reply_to) or NO_MESSAGE
    return Post(
        chat_id=chat_id,
        user_id=user_id,
        session_id=session_id,
        content=new.content,
        reply_to=reply_to,
        metadata=None if new.metadata is None else orjson.dumps(new.metadata).decode(),
        mention="@" in new.content and _MENTION.search(new.content) is not None,
        key=key,
        fingerprint=None if key is None else _fingerprint(chat_id, new.content, reply_to, new.metadata),
        message_id=new_id(),
        reply_id=new_id(),
        request_id=current_request_id(),
        traceparent=current_traceparent(),
    )


def _fingerprint(*values: Any) -> bytes:
    """Returns 32 bytes that are the same for posts that are equal as JSON values, whatever their spelling."""
    value = _canonical(list(values))
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).digest()


def _canonical(value: Any) -> Any:
    match value:
        case dict():
            return {name: _canonical(inner) for name, inner in value.items()}
        case list():
            return [_canonical(inner) for inner in value]
        case float() if value.is_integer():
            return int(value)  # 1.0 and 1 are the same JSON number
        case _:
            return value


async def _message(connection: AsyncConnection, chat_id: str, message_id: str) -> Row[Any]:
    found = await connection.execute(_MESSAGE, {"chat": chat_id, "message": message_id})
    row = found.one_or_none()
    if row is None:
        raise NotFound("There is no such message in this chat.")
    return row


async def _change(
    connection: AsyncConnection, statement: Any, chat_id: str, message_id: str, **values: str
) -> str:
    bound = {"chat": chat_id, "message": message_id, "now": now(), **values}
    body: str = (await connection.execute(statement, bound)).scalar_one()
    return body
