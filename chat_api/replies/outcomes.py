"""The consumer of `reply.finished`, `reply.failed`, and requests that nobody could serve.

One transaction stores the reply as the chat's next message, records its events, ends the reply and asks for
the next one in turn; an event that arrives twice changes nothing the second time.
"""

import asyncio
from typing import Final, assert_never

import asyncpg
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chat_api.http.error_middleware import is_transient
from chat_api.replies.endings import Reply, cancel, complete, fail, locked_reply, note_ended
from shared.bus import Job, PoisonedEventError
from shared.concurrency.backoff import backoff
from shared.events import (
    Command,
    MemberRemoved,
    ReplyCancelRequested,
    ReplyFailed,
    ReplyFinished,
    ReplyRequested,
    SessionEnded,
    command_of,
)
from shared.store.drafts import Drafts
from shared.telemetry.correlation import request_context

log = structlog.get_logger()

WORKER_LOST: Final = "worker_lost"
"""The code of a reply whose request was given up: every worker that took it died or failed."""

_HANDLED: Final = text("INSERT INTO handled_events (id) VALUES (:id) ON CONFLICT DO NOTHING")


class Replies:
    """Ends replies as the workers say."""

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
                    if not is_transient(error):
                        raise
                    # An outage must not use up the job's bounded deliveries.
                    log.warning("reply.database_away", error=repr(error)[:500])
                    await asyncio.sleep(pause)
                else:
                    return

    async def _settle(self, job: Job, command: Command) -> None:
        match command:
            case ReplyFinished() | ReplyFailed() | ReplyRequested():
                await self._end(job, command)
            case ReplyCancelRequested() | SessionEnded() | MemberRemoved():
                raise PoisonedEventError(f"{job.event.type} is not for the API's replies")
            case _:
                assert_never(command)

    async def _end(self, job: Job, command: ReplyFinished | ReplyFailed | ReplyRequested) -> None:
        ending = None
        async with self._engine.begin() as connection:
            # A dead request keeps its id, which no consumer of this queue has handled.
            fresh = (await connection.execute(_HANDLED, {"id": job.event.id})).rowcount
            reply = await locked_reply(connection, command.chat_id, command.reply_id)
            being_written = reply is not None and reply.being_written
            if fresh and reply is not None and being_written:
                ending = await _ended(connection, reply, command)
        if ending is not None:
            note_ended(ending, chat_id=command.chat_id, reply_id=command.reply_id)
        if ending is not None or not being_written:
            await self._drafts.end(command.reply_id)


async def _ended(
    connection: AsyncConnection, reply: Reply, command: ReplyFinished | ReplyFailed | ReplyRequested
) -> str | None:
    match command:
        case ReplyFinished():
            return await complete(connection, reply, command.content, command.metadata, command.attempt)
        case ReplyFailed() if reply.cancelling:
            return await cancel(connection, reply, command.content, command.metadata, command.attempt)
        case ReplyFailed():
            return await fail(connection, reply, command.code, command.metadata, command.attempt)
        case ReplyRequested() if reply.cancelling:
            return None  # see `cancellation.py`: it is ended by what its draft holds
        case ReplyRequested():
            return await fail(connection, reply, WORKER_LOST)
        case _:
            assert_never(command)


async def request_unfinished(connection: asyncpg.Connection) -> int:
    """Asks again for every reply that was being written; returns how many.

    For a bus that forgets with its process: what it held when that ended is gone. Repeated requests are
    harmless, as only the first reply that arrives is stored.
    """
    asked = await connection.fetch("SELECT request_reply(id) FROM replies WHERE status = 'requested'")
    return len(asked)
