"""Cancelling a reply: what was written so far is kept.

A reply that waits for its turn is ended here. One that a worker has is ended by the worker, which hears of
the cancel from the bus: `reply.finished` brings what it has sent, and what it knows of it. But it is not
waited for long: the cancel draws a line through the draft (see `shared.store.drafts`), and the reply is ended
here by what stands above it, whether its worker is slow, dead, or has yet to begin.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Final

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chat_api.chats.membership import lock_chat
from chat_api.http.error_middleware import is_transient
from chat_api.http.problems import NotFound, ReplyFinished
from chat_api.outbox import announcements
from chat_api.outbox.record import record, record_quietly
from chat_api.replies.endings import cancel, locked_reply, note_ended, reply_of
from shared.concurrency.cancellation import raise_if_cancelled
from shared.store.drafts import Drafts, DraftsUnavailableError, Kept

log = structlog.get_logger()

ANSWER_SECONDS: Final = 0.05
"""How long a worker has to end a reply that was cancelled, where the draft is known."""
LATE_SECONDS: Final = 1.0
"""The same where it was not, or the API that took the cancel has gone."""
DRAFT_SECONDS: Final = 15.0
"""How long a Redis that is away is waited for; then the reply ends without its text."""
LOOK_SECONDS: Final = 0.5
AT_ONCE: Final = 100
ENDING_AT_ONCE: Final = 4

_MARK_CANCELLED: Final = text(
    "UPDATE replies SET cancel_requested_at = now() WHERE id = CAST(:reply AS uuid)"
)
_OVERDUE: Final = text(
    "SELECT id::text, chat_id::text, cancel_requested_at < now() - make_interval(secs => :lost) AS lost "
    "FROM replies WHERE status = 'requested' AND cancel_requested_at < now() - make_interval(secs => :late) "
    "ORDER BY cancel_requested_at LIMIT :limit"
)


@dataclass(frozen=True, slots=True)
class _PendingEnd:
    """A reply that was cancelled here; it ends at `due` (monotonic) with what is `kept`."""

    chat_id: str
    reply_id: str
    kept: Kept
    due: float


class Cancellation:
    """Ends replies early."""

    def __init__(self, engine: AsyncEngine, drafts: Drafts) -> None:
        self._engine = engine
        self._drafts = drafts
        self._pending: asyncio.Queue[_PendingEnd] = asyncio.Queue()
        self._ending = asyncio.Semaphore(ENDING_AT_ONCE)

    async def cancel(self, user_id: str, chat_id: str, reply_id: str) -> None:
        """Ends a reply where it is, for any member; one that was cancelled before stays so.

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
                await connection.execute(_MARK_CANCELLED, {"reply": reply_id})
                await record(connection, announcements.cancel_requested(chat_id, reply_id, user_id))
            elif reply.status == "queued":
                await cancel(connection, reply, "")
            else:
                raise ReplyFinished
        if reply.being_written:
            await self._draw_line(chat_id, reply_id)
        else:
            note_ended("cancelled", chat_id=chat_id, reply_id=reply_id)

    async def run(self) -> None:
        """Ends the cancelled replies that no worker ends in time, until cancelled itself."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._end_overdue_regularly())
            while True:
                pending = await self._pending.get()
                await asyncio.sleep(pending.due - monotonic())
                tasks.create_task(self._end_in_time(pending))

    async def end_overdue(self, *, answer_seconds: float = LATE_SECONDS) -> None:
        """Ends those whose worker has had `answer_seconds`."""
        bounds = {"late": answer_seconds, "lost": DRAFT_SECONDS, "limit": AT_ONCE}
        async with self._engine.connect() as connection:
            overdue = (await connection.execute(_OVERDUE, bounds)).all()
        for row in overdue:
            try:
                kept = await self._drafts.cancel(row.id)
            except DraftsUnavailableError:
                if not row.lost:
                    continue
                kept = Kept(attempt=1)
            await self._end(row.chat_id, row.id, kept)

    async def _draw_line(self, chat_id: str, reply_id: str) -> None:
        due = monotonic() + ANSWER_SECONDS
        try:
            kept = await self._drafts.cancel(reply_id)
        except DraftsUnavailableError as error:
            log.warning("cancellation.draft_unknown", reply_id=reply_id, reason=repr(error.__cause__))
        else:
            self._pending.put_nowait(_PendingEnd(chat_id, reply_id, kept, due))

    async def _end_overdue_regularly(self) -> None:
        while True:
            with _tolerating_outages():
                await self.end_overdue()
            raise_if_cancelled()
            await asyncio.sleep(LOOK_SECONDS)

    async def _end_in_time(self, pending: "_PendingEnd") -> None:
        async with self._ending:
            with _tolerating_outages():
                await self._end(pending.chat_id, pending.reply_id, pending.kept)

    async def _end(self, chat_id: str, reply_id: str, kept: Kept) -> None:
        async with self._engine.begin() as connection:
            reply = await locked_reply(connection, chat_id, reply_id)
            if reply is None or not reply.being_written:
                return
            await record_quietly(connection, *announcements.last_chunks(chat_id, reply_id, kept))
            content, attempt = "".join(kept.texts), max(1, kept.attempt)
            await cancel(connection, reply, content, kept.metadata, attempt)
        log.info("cancellation.not_waited", reply_id=reply_id, chat_id=chat_id)
        note_ended("cancelled", chat_id=chat_id, reply_id=reply_id)
        await self._drafts.end(reply_id)


@contextmanager
def _tolerating_outages() -> Iterator[None]:
    """Logs what fails as the database is away: the next look tries it again."""
    try:
        yield
    except Exception as error:
        if not is_transient(error):
            raise
        log.warning("cancellation.database_away", error=repr(error)[:500])
