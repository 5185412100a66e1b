"""The reply being written in a chat, for those who join meanwhile.

In Redis: a string that grows by APPEND, so that a chunk costs its own length, and beside it a hash with the
reply's id, the index of the next chunk, and how many bytes the string should have. Both are written, and
read, in one MULTI. What Redis lost, or another reply left, shows in the length that APPEND answers and in the
id; then the whole content is written.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Final, TypeVar

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError, WatchError

log = structlog.get_logger()

EXPIRY_SECONDS: Final = 3600
_IO_SECONDS: Final = 0.5
_SKIP_SECONDS: Final = 3.0
"""For how long Redis is left alone after it failed, so that a reply is not slowed down by it."""

T = TypeVar("T")

_REPLY: Final = "reply"
_NEXT: Final = "next"
_BYTES: Final = "bytes"


@dataclass(frozen=True, slots=True)
class Draft:
    """A reply so far.

    Attributes:
        content: the contents of the chunks 0 to `next_index` - 1, joined.
        next_index: the index of the chunk that comes next.
    """

    reply_id: str
    content: str
    next_index: int


class Drafts:
    """Keeps at most one draft a chat, for an hour after its last chunk.

    A draft is a convenience: where Redis is away, writing is logged and skipped, and there is none to read.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._skip_until = 0.0

    async def start(self, chat_id: str, reply_id: str) -> None:
        """A reply begins: its draft is empty, and replaces what another left."""
        await self._done("start", lambda: self._replace(chat_id, reply_id, 0, b""))

    async def append(self, chat_id: str, reply_id: str, index: int, text: str, content: str) -> None:
        """The chunk `index` (0, 1, …) with `text` came; `content` is the whole reply after it."""
        await self._done("append", lambda: self._append(chat_id, reply_id, index, text, content))

    async def read(self, chat_id: str) -> Draft | None:
        """The draft of the reply being written in that chat, or None."""
        return await self._done("read", lambda: self._read(chat_id))

    async def drop(self, chat_id: str, reply_id: str) -> None:
        """That reply is written: its draft goes; another's stays."""
        await self._done("drop", lambda: self._drop(chat_id, reply_id))

    async def _append(self, chat_id: str, reply_id: str, index: int, text: str, content: str) -> None:
        whole = content.encode()
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hget(_state(chat_id), _REPLY)
        pipeline.append(_text(chat_id), text)
        _describe(pipeline, chat_id, reply_id, index + 1, len(whole))
        former, length, *_ = await pipeline.execute()
        if _decoded(former) != reply_id or length != len(whole):
            await self._replace(chat_id, reply_id, index + 1, whole)

    async def _replace(self, chat_id: str, reply_id: str, next_index: int, content: bytes) -> None:
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.set(_text(chat_id), content)
        _describe(pipeline, chat_id, reply_id, next_index, len(content))
        await pipeline.execute()

    async def _read(self, chat_id: str) -> Draft | None:
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.get(_text(chat_id))
        pipeline.hmget(_state(chat_id), _REPLY, _NEXT, _BYTES)
        text, (reply_id, next_index, length) = await pipeline.execute()
        content = _decoded(text or b"")
        if reply_id is None or len(content.encode()) != int(length):
            return None  # or caught while it is being mended
        return Draft(_decoded(reply_id), content, int(next_index))

    async def _drop(self, chat_id: str, reply_id: str) -> None:
        async with self._redis.pipeline(transaction=True) as pipeline:
            await pipeline.watch(_state(chat_id))
            found = await pipeline.hget(_state(chat_id), _REPLY)
            if _decoded(found) != reply_id:
                return
            pipeline.multi()  # type: ignore[no-untyped-call]  # as the library has it
            pipeline.delete(_text(chat_id), _state(chat_id))
            with suppress(WatchError):  # another reply began
                await pipeline.execute()

    async def _done(self, what: str, act: Callable[[], Awaitable[T]]) -> T | None:
        """What `act` answers, or None when Redis is away."""
        if monotonic() < self._skip_until:
            return None
        try:
            async with asyncio.timeout(_IO_SECONDS):
                return await act()
        except (RedisError, OSError, TimeoutError) as error:
            self._skip_until = monotonic() + _SKIP_SECONDS
            log.warning("drafts.skipped", what=what, reason=repr(error))
            return None


def _text(chat_id: str) -> str:
    return f"roomcast:draft:{chat_id}:text"


def _state(chat_id: str) -> str:
    return f"roomcast:draft:{chat_id}"


def _describe(pipeline: Pipeline, chat_id: str, reply_id: str, next_index: int, length: int) -> None:
    pipeline.hset(_state(chat_id), mapping={_REPLY: reply_id, _NEXT: next_index, _BYTES: length})
    pipeline.expire(_state(chat_id), EXPIRY_SECONDS)
    pipeline.expire(_text(chat_id), EXPIRY_SECONDS)


def _decoded(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
