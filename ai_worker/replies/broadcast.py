"""Publishes one reply while it is written: progress to its chat, the outcome to the API."""

import asyncio
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import orjson
import structlog

from ai_worker.replies.chunks import Chunk, Cut
from shared.bus import BusUnavailableError
from shared.concurrency.backoff import backoff
from shared.events import (
    REPLY_FAILED,
    REPLY_FINISHED,
    REPLY_STATUS,
    Event,
    ReplyFailed,
    ReplyFinished,
    ReplyRequested,
    chat_room,
    numbered,
)
from shared.interest.reader import Write
from shared.reply_chunks import SOURCE, reply_chunk
from shared.store.chunk_write import ChunkWrite, ReplyCancelledError, ReplyGoneError
from shared.store.draft_layout import Standing

Status = Literal["thinking", "tool_calling", "tool_completed"]

log = structlog.get_logger()


class AttemptUnknownError(Exception):
    """An attempt of unknown number: Redis did not say it, and has a later one, perhaps given up."""


class Publisher(Protocol):
    """The way to the bus."""

    async def publish(self, event: Event, *, first: Write | None = None) -> None:
        """Returns when the bus has taken responsibility. `first` is written to Redis before.

        Raises:
            BusUnavailableError: it has not, as far as is known.
        """


class Drafts(Protocol):
    """The store of replies being written, for those who join meanwhile; loses what it cannot store."""

    async def start(self, reply_id: str, at_least: int) -> Standing:
        """Begins an attempt, unless the reply was cancelled or has ended; its number is in the answer."""
        ...

    async def mend(self, reply_id: str, attempt: int, texts: Sequence[str]) -> None:
        """Writes the whole of an attempt."""


class ReplyBroadcast:
    """The broadcast of one reply, in the order in which it is called.

    Statuses and chunks may be lost, as the draft and the finished reply hold the text; the outcome is
    published again and again until the bus has confirmed it. `cut` is set when the draft says that the reply
    was cancelled.
    """

    def __init__(
        self, request: ReplyRequested, cause: Event, *, publisher: Publisher, drafts: Drafts, cut: Cut
    ) -> None:
        self._request = request
        self._cause = cause
        self._publisher = publisher
        self._drafts = drafts
        self._cut = cut
        self._attempt = 0
        self._known = False
        self._texts: list[str] = []
        self._metadata: dict[str, Any] | None = None
        self._unsent_metadata: dict[str, Any] | None = None
        self._lossy = False

    @property
    def content(self) -> str:
        """Returns the text of the chunks so far."""
        return "".join(self._texts)

    async def started(self, at_least: int = 1) -> bool:
        """Begins a new attempt: what an earlier one wrote counts no more.

        Returns False for a reply that was cancelled: then `cut` is set, and what was written before stays
        what counts.

        Args:
            at_least: the attempt's number, as far as the caller knows.

        Raises:
            ReplyGoneError: the reply has ended.
        """
        standing = await self._drafts.start(self._request.reply_id, max(at_least, self._attempt + 1))
        if standing.ended:
            raise ReplyGoneError
        if standing.cancelled:
            self._cut.set()
            return False
        self._texts, self._attempt, self._known = [], standing.attempt, standing.known
        self._metadata = self._unsent_metadata = None
        await self.status("thinking")
        return True

    async def status(self, status: Status, **data: str) -> None:
        """Publishes to the room what is being done."""
        body = {
            "chatId": self._request.chat_id,
            "replyId": self._request.reply_id,
            "replyTo": self._request.reply_to,
            "status": status,
            "data": {name: value for name, value in data.items() if value},
            **numbered(self._attempt),
        }
        await self._publish_once(self._for_room(REPLY_STATUS, "ai-status", body))

    async def chunk(self, chunk: Chunk) -> None:
        """Adds a chunk to the draft, then sends it, unless the reply was cancelled before: that sets `cut`.

        A socket that joins in between finds it in the draft, gets it, or both; never neither.

        Raises:
            ReplyGoneError: the reply has ended, or another attempt has begun; the chunk was not sent.
            AttemptUnknownError: this may be so; the chunk was not sent.
        """
        reply_id, attempt = self._request.reply_id, self._attempt
        index, text, is_final = chunk.index, chunk.content, chunk.is_final
        metadata, self._unsent_metadata = self._unsent_metadata, None
        write = ChunkWrite(
            reply_id, attempt=attempt, index=index, text=text, is_final=is_final, metadata=metadata
        )
        event = reply_chunk(
            chat_id=self._request.chat_id,
            reply_id=reply_id,
            attempt=attempt,
            index=index,
            content=text,
            is_final=is_final,
            request_id=self._cause.request_id,
            traceparent=self._cause.traceparent,
        )
        self._texts.append(text)
        try:
            await self._publish_once(event, first=write)
        except ReplyCancelledError:
            self._texts.pop()
            self._cut.set()
            return
        except ReplyGoneError:
            if self._known:
                raise
            raise AttemptUnknownError from None
        if write.cancelled:
            self._cut.set()
        if not write.whole:
            self._unsent_metadata = metadata  # what is mended is the text alone
            await self._drafts.mend(reply_id, self._attempt, self._texts)

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        """Sets the metadata of the finished reply."""
        self._metadata = self._unsent_metadata = metadata

    async def finished(self) -> None:
        """Publishes the whole reply to the API; returns when the bus has confirmed it."""
        reply = ReplyFinished(
            reply_id=self._request.reply_id,
            chat_id=self._request.chat_id,
            content=self.content,
            metadata=self._metadata,
            attempt=max(1, self._attempt),
        )
        await self._publish_until_confirmed(self._for_api(REPLY_FINISHED, reply.json_bytes()))

    async def failed(self, code: str, metadata: dict[str, Any] | None = None) -> None:
        """Publishes that there will be no reply; returns when the bus has confirmed it."""
        failure = ReplyFailed(
            reply_id=self._request.reply_id,
            chat_id=self._request.chat_id,
            code=code,
            metadata=metadata,
            content=self.content,
            attempt=max(1, self._attempt),
        )
        await self._publish_until_confirmed(self._for_api(REPLY_FAILED, failure.json_bytes()))

    async def _publish_once(self, event: Event, *, first: Write | None = None) -> None:
        if not await self._confirmed(event, first=first) and not self._lossy:
            self._lossy = True
            log.warning("reply.progress_lost", reply_id=self._request.reply_id, type=event.type)

    async def _publish_until_confirmed(self, event: Event) -> None:
        for delay in backoff():
            if await self._confirmed(event):
                return
            log.warning(
                "reply.outcome_delayed", reply_id=self._request.reply_id, type=event.type, retry_in=delay
            )
            await asyncio.sleep(delay)

    async def _confirmed(self, event: Event, *, first: Write | None = None) -> bool:
        try:
            await self._publisher.publish(event, first=first)
        except BusUnavailableError:
            return False
        return True

    def _for_room(self, type_: str, name: str, body: dict[str, Any]) -> Event:
        return self._event(type_, orjson.dumps(body), name=name, rooms=(chat_room(self._request.chat_id),))

    def _for_api(self, type_: str, body: bytes) -> Event:
        return self._event(type_, body)

    def _event(self, type_: str, body: bytes, *, name: str = "", rooms: tuple[str, ...] = ()) -> Event:
        return Event(
            type=type_,
            body=body,
            source=SOURCE,
            subject=self._request.reply_id,
            name=name,
            rooms=rooms,
            request_id=self._cause.request_id,
            traceparent=self._cause.traceparent,
        )
