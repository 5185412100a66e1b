"""Cancelling a reply: what was written so far is kept.

A reply that waits for its turn is ended here. One that a worker has is ended by the worker: it hears of the
cancel from the bus, and, should that have lost it, from Redis; then `reply.finished` brings exactly what it
has sent. Where no worker answers in time (it died, or none has taken the request yet), the reply is ended
here by what its draft holds.
"""

import asyncio
from typing import Final

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chat_api import announcements
from chat_api.access import lock_chat
from chat_api.endings import cancel, locked_reply, reply_of
from chat_api.failures import passes
from chat_api.outbox import record
from chat_api.problems import NotFound, ReplyFinished
from chat_api.replies import note_ended
from shared.drafts import Drafts, DraftsUnavailableError

log = structlog.get_logger()

ANSWER_SECONDS: Final = 2.0
"""How long a worker has to end a reply that was cancelled."""
DRAFT_SECONDS: Final = 15.0
"""How long a Redis that is away is waited for; then the reply ends without its text."""
LOOK_SECONDS: Final = 0.5
AT_ONCE: Final = 100

_ASK: Final = text("UPDATE replies SET cancel_requested_at = now() WHERE id = CAST(:reply AS uuid)")
_OVERDUE: Final = text(
    "SELECT id::text, chat_id::text, cancel_requested_at < now() - make_interval(secs => :lost) AS lost "
    "FROM replies WHERE status = 'requested' AND cancel_requested_at < now() - make_interval(secs => :late) "
    "ORDER BY cancel_requested_at LIMIT :limit"
)


class Cancellation:
    """Ends replies early."""

    def __init__(self, engine: AsyncEngine, drafts: Drafts) -> None:
        self._engine = engine
        self._drafts = drafts

    async def cancel(self, user_id: str, chat_id: str, reply_id: str) -> None:
        """Has a reply end where it is, for any member; one that was cancelled before stays so.

        Raises:
            NotFound: no such reply in the chat, or no such chat for the user.
            ReplyFinished: it has come to another end.
        """
        async with self._engine.begin() as connection:
            await lock_chat(connection, chat_id, user_id)
            reply = await reply_of(connection, chat_id, reply_id)
            if reply is None:
                raise NotFound("There is no such reply in this chat.")
            if reply.cancelling or reply.status == "cancelled":
                return
            if reply.being_written:
                await connection.execute(_ASK, {"reply": reply_id})
                await record(connection, announcements.cancel_requested(chat_id, reply_id, user_id))
            elif reply.status == "queued":
                await cancel(connection, reply, "")
            else:
                raise ReplyFinished
        if reply.being_written:
            await self._drafts.cancel(reply_id)
        else:
            note_ended("cancelled", chat_id=chat_id, reply_id=reply_id)

    async def run(self) -> None:
        """Ends the cancelled replies of which no worker says anything, until cancelled itself."""
        while True:
            try:
                await self.end_overdue()
            except Exception as error:
                if not passes(error):
                    raise
                log.warning("cancellation.database_away", error=repr(error)[:500])
            await asyncio.sleep(LOOK_SECONDS)

    async def end_overdue(self, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        """Ends those whose worker has had `answer_seconds`."""
        bounds = {"late": answer_seconds, "lost": DRAFT_SECONDS, "limit": AT_ONCE}
        async with self._engine.connect() as connection:
            overdue = (await connection.execute(_OVERDUE, bounds)).all()
        for row in overdue:
            try:
                draft = await self._drafts.read_surely(row.id)
            except DraftsUnavailableError:
                if not row.lost:
                    continue
                draft = None
            content, attempt = (draft.content, draft.attempt) if draft is not None else ("", 1)
            await self._end(row.chat_id, row.id, content, attempt)

    async def _end(self, chat_id: str, reply_id: str, content: str, attempt: int) -> None:
        async with self._engine.begin() as connection:
            reply = await locked_reply(connection, chat_id, reply_id)
            if reply is None or not reply.being_written:
                return
            await cancel(connection, reply, content, attempt=attempt)
        log.warning("cancellation.no_answer", reply_id=reply_id, chat_id=chat_id)
        note_ended("cancelled", chat_id=chat_id, reply_id=reply_id)
        await self._drafts.end(reply_id)
