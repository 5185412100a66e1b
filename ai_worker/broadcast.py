"""What one reply tells its chat and the API while it is being written."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol

import orjson
import structlog

from ai_worker.stream import Chunk
from shared.bus import BusUnavailableError
from shared.events import (
    REPLY_CHUNK,
    REPLY_FAILED,
    REPLY_FINISHED,
    REPLY_STATUS,
    Event,
    ReplyFailed,
    ReplyFinished,
    ReplyRequested,
    chat_room,
)
from shared.runtime import backoff

SOURCE: Final = "/roomcast/worker"

Status = Literal["thinking", "tool_calling", "tool_completed"]

log = structlog.get_logger()


class Publisher(Protocol):
    """Where events go."""

    async def publish(self, events: Sequence[Event]) -> None:
        """Returns when the bus has taken responsibility.

        Raises:
            BusUnavailableError: it has not, as far as is known.
        """


class Drafts(Protocol):
    """Where the reply being written is kept for those who join meanwhile; loses what it cannot store."""

    async def start(self, chat_id: str, reply_id: str) -> None:
        """Begins with nothing, whatever an earlier attempt left."""

    async def append(self, chat_id: str, reply_id: str, index: int, text: str, content: str) -> None:
        """Adds the chunk `index` with its `text`; `content` is everything up to its end."""


class ReplyBroadcast:
    """Publishes in the order in which it is called.

    Statuses and chunks may be lost, as the draft and the finished reply hold the text; the outcome is
    published again and again until the bus has confirmed it.
    """

    def __init__(
        self, request: ReplyRequested, cause: Event, *, publisher: Publisher, drafts: Drafts
    ) -> None:
        self._request = request
        self._cause = cause
        self._publisher = publisher
        self._drafts = drafts
        self._content = ""
        self._metadata: dict[str, Any] | None = None
        self._attempt = 1
        self._lossy = False

    @property
    def content(self) -> str:
        """The text of the chunks so far."""
        return self._content

    async def started(self, attempt: int) -> None:
        """A new attempt begins: nothing is written yet, and what an earlier one wrote counts no more."""
        self._content, self._metadata, self._attempt = "", None, attempt
        await self._drafts.start(self._request.chat_id, self._request.reply_id)
        await self.status("thinking")

    async def status(self, status: Status, **data: str) -> None:
        """Tells the room what is being done."""
        body = {
            "chatId": self._request.chat_id,
            "replyId": self._request.reply_id,
            "replyTo": self._request.reply_to,
            "status": status,
            "data": {name: value for name, value in data.items() if value},
            **self._numbered(),
        }
        await self._publish_once(self._for_room(REPLY_STATUS, "ai-status", body))

    async def chunk(self, chunk: Chunk) -> None:
        """Adds a chunk to the draft, then sends it.

        A socket that joins in between finds it in the draft, gets it, or both; never neither.
        """
        self._content += chunk.content
        chat_id, reply_id = self._request.chat_id, self._request.reply_id
        await self._drafts.append(chat_id, reply_id, chunk.index, chunk.content, self._content)
        body = {
            "chatId": chat_id,
            "replyId": reply_id,
            "index": chunk.index,
            "content": chunk.content,
            "isFinal": chunk.is_final,
            **self._numbered(),
        }
        await self._publish_once(self._for_room(REPLY_CHUNK, "ai-chunk", body))

    def know(self, metadata: dict[str, Any]) -> None:
        """Keeps what the finished reply will say of itself."""
        self._metadata = metadata

    async def finished(self) -> None:
        """Hands the whole reply to the API; returns when the bus has confirmed it."""
        reply = ReplyFinished(
            reply_id=self._request.reply_id,
            chat_id=self._request.chat_id,
            content=self._content,
            metadata=self._metadata,
        )
        await self._publish_surely(self._for_api(REPLY_FINISHED, reply.json_bytes()))

    async def failed(self, code: str, metadata: dict[str, Any] | None = None) -> None:
        """Tells the API that there will be no reply; returns when the bus has confirmed it."""
        failure = ReplyFailed(
            reply_id=self._request.reply_id, chat_id=self._request.chat_id, code=code, metadata=metadata
        )
        await self._publish_surely(self._for_api(REPLY_FAILED, failure.json_bytes()))

    async def _publish_once(self, event: Event) -> None:
        if not await self._confirmed(event) and not self._lossy:
            self._lossy = True
            log.warning("reply.progress_lost", reply_id=self._request.reply_id, type=event.type)

    async def _publish_surely(self, event: Event) -> None:
        for delay in backoff():
            if await self._confirmed(event):
                return
            log.warning(
                "reply.outcome_delayed", reply_id=self._request.reply_id, type=event.type, retry_in=delay
            )
            await asyncio.sleep(delay)

    async def _confirmed(self, event: Event) -> bool:
        try:
            await self._publisher.publish([event])
        except BusUnavailableError:
            return False
        return True

    def _numbered(self) -> dict[str, int]:
        """`attempt`, which the first attempt leaves out."""
        return {"attempt": self._attempt} if self._attempt > 1 else {}

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
