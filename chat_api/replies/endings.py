"""Ending a reply, and requesting the next in turn: each function is a part of the caller's transaction.

What a reply became is the chat's next message; its last `ai-status` follows that message.
"""

from dataclasses import dataclass
from typing import Any, Final

import orjson
import structlog
from prometheus_client import Counter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chat_api.outbox import announcements
from chat_api.outbox.record import record_quietly
from chat_api.replies.failure_texts import sentence
from shared.ids import new_id
from shared.telemetry.correlation import current_request_id, current_traceparent

log = structlog.get_logger()

ENDED = Counter("roomcast_api_replies_ended_total", "Replies that ended", ["outcome"])

_LOCK: Final = text("SELECT 1 FROM chats WHERE id = CAST(:chat AS uuid) FOR NO KEY UPDATE")
_REPLY: Final = text(
    "SELECT id::text, chat_id::text, reply_to::text, regenerates::text, status,"
    " cancel_requested_at IS NOT NULL AS cancelling FROM replies "
    "WHERE id = CAST(:reply AS uuid) AND chat_id = CAST(:chat AS uuid)"
)
_APPEND: Final = text(
    "SELECT append_message(CAST(:chat AS uuid), CAST(:id AS uuid), :role, NULL, :content,"
    " CAST(:reply_to AS uuid), CAST(:metadata AS json), :request, :trace)"
)
_END: Final = text("UPDATE replies SET status = :status, ended_at = now() WHERE id = CAST(:reply AS uuid)")
_NEXT: Final = text(
    "UPDATE replies SET status = 'requested' WHERE id = ("
    "  SELECT id FROM replies WHERE chat_id = CAST(:chat AS uuid) AND status = 'queued'"
    "  ORDER BY coalesce(turn, reply_to_seq), id LIMIT 1"
    ") AND NOT EXISTS (SELECT 1 FROM replies WHERE chat_id = CAST(:chat AS uuid) AND status = 'requested')"
    " RETURNING request_reply(id)"
)


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply, read while its chat is locked.

    Attributes:
        reply_to: the id of the message that it answers.
        regenerates: the id of the AI message that it is another version of.
        status: queued, requested, finished, failed or cancelled.
        cancelling: somebody has cancelled it, and it has yet to end.
    """

    id: str
    chat_id: str
    reply_to: str
    regenerates: str | None
    status: str
    cancelling: bool

    @property
    def being_written(self) -> bool:
        """True while a worker has it, or will."""
        return self.status == "requested"


async def locked_reply(connection: AsyncConnection, chat_id: str, reply_id: str) -> Reply | None:
    """Locks the chat until the transaction ends; returns the reply, None when it is not of this chat."""
    await connection.execute(_LOCK, {"chat": chat_id})
    return await reply_of(connection, chat_id, reply_id)


async def reply_of(connection: AsyncConnection, chat_id: str, reply_id: str) -> Reply | None:
    """Returns the reply to a caller who has locked the chat; None when it is not of this chat."""
    found = await connection.execute(_REPLY, {"reply": reply_id, "chat": chat_id})
    row = found.mappings().one_or_none()
    return None if row is None else Reply(**row)


async def complete(
    connection: AsyncConnection, reply: Reply, content: str, metadata: dict[str, Any] | None, attempt: int = 1
) -> str:
    """Stores the reply as the chat's next message; returns its outcome, `cancelled` if it was in time."""
    if reply.cancelling:
        return await cancel(connection, reply, content, metadata, attempt)
    await _append(connection, reply, id=reply.id, role="AI", content=content, metadata=metadata)
    await _end(connection, reply, "finished", announced="completed", attempt=attempt)
    return "finished"


async def cancel(
    connection: AsyncConnection,
    reply: Reply,
    content: str,
    metadata: dict[str, Any] | None = None,
    attempt: int = 1,
) -> str:
    """Stores what was written of the reply, maybe nothing; returns its outcome."""
    marked = {**(metadata or {}), "cancelled": True}
    await _append(connection, reply, id=reply.id, role="AI", content=content, metadata=marked)
    await _end(connection, reply, "cancelled", announced="cancelled", attempt=attempt)
    return "cancelled"


async def fail(
    connection: AsyncConnection,
    reply: Reply,
    code: str,
    metadata: dict[str, Any] | None = None,
    attempt: int = 1,
) -> str:
    """Stores a SYSTEM message saying that there is no reply; returns the reply's outcome."""
    await _append(
        connection,
        reply,
        id=new_id(),
        role="SYSTEM",
        content=sentence(code),
        metadata={**(metadata or {}), "replyId": reply.id, "code": code},
    )
    await _end(connection, reply, "failed", announced="failed", data={"code": code}, attempt=attempt)
    return "failed"


def note_ended(outcome: str, *, chat_id: str, reply_id: str) -> None:
    """Counts and logs a reply's end, once its transaction has committed."""
    ENDED.labels(outcome).inc()
    log.info("reply.ended", outcome=outcome, reply_id=reply_id, chat_id=chat_id)


async def ask_next(connection: AsyncConnection, chat_id: str) -> None:
    """Asks for the reply whose turn it is, unless one is being written."""
    await connection.execute(_NEXT, {"chat": chat_id})


async def _append(
    connection: AsyncConnection,
    reply: Reply,
    *,
    id: str,  # noqa: A002  the message's, as everywhere
    role: str,
    content: str,
    metadata: dict[str, Any] | None,
) -> None:
    if reply.regenerates is not None:
        metadata = {**(metadata or {}), "regenerates": reply.regenerates}
    await connection.execute(
        _APPEND,
        {
            "chat": reply.chat_id,
            "id": id,
            "role": role,
            "content": content,
            "reply_to": reply.reply_to,
            "metadata": None if metadata is None else orjson.dumps(metadata).decode(),
            "request": current_request_id(),
            "trace": current_traceparent(),
        },
    )


async def _end(
    connection: AsyncConnection,
    reply: Reply,
    status: str,
    *,
    announced: str,
    attempt: int,
    data: dict[str, str] | None = None,
) -> None:
    await connection.execute(_END, {"reply": reply.id, "status": status})
    ended = announcements.reply_ended(reply.chat_id, reply.id, reply.reply_to, announced, data or {}, attempt)
    await record_quietly(connection, ended)
    await ask_next(connection, reply.chat_id)
