"""What becomes of a reply: consumes `reply.finished` and `reply.failed`, and requests nobody could serve.

One transaction stores the reply as the chat's next message, tells it, ends the reply and asks for the next
one in turn; an event that arrives twice changes nothing the second time.
"""

import asyncio
from typing import Any, Final, assert_never

import asyncpg
import orjson
import structlog
from prometheus_client import Counter
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chat_api import announcements
from chat_api.failures import passes
from chat_api.outbox import record
from shared.bus import Job, PoisonedEventError
from shared.drafts import Drafts
from shared.events import (
    Command,
    MemberRemoved,
    ReplyFailed,
    ReplyFinished,
    ReplyRequested,
    SessionEnded,
    command_of,
)
from shared.ids import new_id
from shared.runtime import backoff
from shared.telemetry import request_context

log = structlog.get_logger()

ENDED = Counter("roomcast_api_replies_ended_total", "Replies that ended", ["outcome"])

WORKER_LOST: Final = "worker_lost"
"""The code of a reply whose request was given up: every worker that took it died or failed."""

_HANDLED: Final = text("INSERT INTO handled_events (id) VALUES (:id) ON CONFLICT DO NOTHING")
_LOCK: Final = text("SELECT 1 FROM chats WHERE id = CAST(:chat AS uuid) FOR NO KEY UPDATE")
_REPLY: Final = text(
    "SELECT id::text, chat_id::text, reply_to::text FROM replies "
    "WHERE id = CAST(:reply AS uuid) AND chat_id = CAST(:chat AS uuid) AND status = 'requested'"
)
_APPEND: Final = text(
    "SELECT append_message(CAST(:chat AS uuid), CAST(:id AS uuid), :role, NULL, :content,"
    " CAST(:reply_to AS uuid), CAST(:metadata AS json), :request, :trace)"
)
_END: Final = text("UPDATE replies SET status = :status, ended_at = now() WHERE id = CAST(:reply AS uuid)")
_NEXT: Final = text(
    "UPDATE replies SET status = 'requested' WHERE id = ("
    "  SELECT id FROM replies WHERE chat_id = CAST(:chat AS uuid) AND status = 'queued'"
    "  ORDER BY reply_to_seq, id LIMIT 1) RETURNING request_reply(id)"
)


class Replies:
    """Ends replies, whatever their end."""

    def __init__(self, engine: AsyncEngine, drafts: Drafts) -> None:
        self._engine = engine
        self._drafts = drafts

    async def handle(self, job: Job) -> None:
        """Handles a job of the queue `api.replies`, waiting for a database that is away.

        Raises:
            PoisonedEventError: the event is none of this queue's.
            UndecodableEventError: its body does not fit its type.
        """
        with request_context(job.event.request_id, job.event.traceparent):
            command = command_of(job.event)
            for pause in backoff():
                try:
                    await self._settle(job, command)
                except Exception as error:
                    if not passes(error):
                        raise
                    # An outage must not use up the job's bounded deliveries.
                    log.warning("reply.database_away", error=repr(error)[:500])
                    await asyncio.sleep(pause)
                else:
                    return

    async def _settle(self, job: Job, command: Command) -> None:
        match command:
            case ReplyFinished():
                await self._finish(job, command)
            case ReplyFailed():
                await self._fail(job, command.chat_id, command.reply_id, command.code, command.metadata)
            case ReplyRequested():
                await self._fail(job, command.chat_id, command.reply_id, WORKER_LOST)
            case SessionEnded() | MemberRemoved():
                raise PoisonedEventError(f"{job.event.type} is not for the API's replies")
            case _:
                assert_never(command)

    async def _finish(self, job: Job, finished: ReplyFinished) -> None:
        async with self._engine.begin() as connection:
            reply = await _begin(connection, job, finished.chat_id, finished.reply_id)
            if reply is not None:
                await _append(
                    connection,
                    job,
                    reply,
                    id=reply.id,
                    role="AI",
                    content=finished.content,
                    metadata=finished.metadata,
                )
                await _end(connection, reply, "finished", "completed", {})
        await self._after(reply, "finished", chat_id=finished.chat_id, reply_id=finished.reply_id)

    async def _fail(
        self, job: Job, chat_id: str, reply_id: str, code: str, metadata: dict[str, Any] | None = None
    ) -> None:
        async with self._engine.begin() as connection:
            reply = await _begin(connection, job, chat_id, reply_id)
            if reply is not None:
                await _append(
                    connection,
                    job,
                    reply,
                    id=new_id(),
                    role="SYSTEM",
                    content="The assistant could not write an answer.",
                    metadata={**(metadata or {}), "replyId": reply.id, "code": code},
                )
                await _end(connection, reply, "failed", "failed", {"code": code})
        await self._after(reply, "failed", chat_id=chat_id, reply_id=reply_id)

    async def _after(self, reply: Row[Any] | None, outcome: str, *, chat_id: str, reply_id: str) -> None:
        if reply is not None:
            ENDED.labels(outcome).inc()
            log.info("reply.ended", outcome=outcome, reply_id=reply_id, chat_id=chat_id)
        await self._drafts.drop(chat_id, reply_id)


async def _begin(connection: AsyncConnection, job: Job, chat_id: str, reply_id: str) -> Row[Any] | None:
    """The reply, its chat locked; None when the event was handled before or nobody waits for the reply."""
    # A dead request keeps its id, which no consumer of this queue has handled.
    if not (await connection.execute(_HANDLED, {"id": job.event.id})).rowcount:
        return None
    await connection.execute(_LOCK, {"chat": chat_id})
    found = await connection.execute(_REPLY, {"reply": reply_id, "chat": chat_id})
    return found.one_or_none()


async def _append(connection: AsyncConnection, job: Job, reply: Row[Any], **message: Any) -> None:
    metadata = message.pop("metadata")
    await connection.execute(
        _APPEND,
        {
            **message,
            "chat": reply.chat_id,
            "reply_to": reply.reply_to,
            "metadata": None if metadata is None else orjson.dumps(metadata).decode(),
            "request": job.event.request_id,
            "trace": job.event.traceparent,
        },
    )


async def _end(
    connection: AsyncConnection, reply: Row[Any], status: str, told: str, data: dict[str, str]
) -> None:
    await connection.execute(_END, {"reply": reply.id, "status": status})
    await record(connection, announcements.reply_ended(reply.chat_id, reply.id, reply.reply_to, told, data))
    await connection.execute(_NEXT, {"chat": reply.chat_id})


async def request_unfinished(connection: asyncpg.Connection) -> int:
    """Asks again for every reply that was being written; returns how many.

    For a bus that forgets with its process: what it held when that ended is gone. Repeated requests are
    harmless, as only the first reply that arrives is stored.
    """
    asked = await connection.fetch("SELECT request_reply(id) FROM replies WHERE status = 'requested'")
    return len(asked)
