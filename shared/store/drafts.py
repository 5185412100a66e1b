"""The reply being written: its text so far, for those who join meanwhile, and whether it is still wanted.

In Redis, for each reply, kept for an hour:

- `roomcast:reply:<id>`, a hash: the number of the latest attempt; which chunk is the final one; what is
  known of each attempt; whether the reply has ended; and, once it was cancelled, which attempt counts, and
  how many of its chunks;
- `roomcast:reply:<id>:<attempt>`, a list of a mark and the chunks' texts. A chunk costs its own length, one
  push, whose answer shows whether Redis lost something: then all of it is written again. An attempt that
  goes on without knowing that another has begun writes into a list that nobody reads any more.

A cancel draws a line through that list in one transaction: a chunk above it is sent, or being sent; one
below it is not, as its writer is told so in the round trip that wrote it. So whoever ends the reply knows its
text, whether the writer still lives or not.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, TypeVar

import orjson
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

_ATTEMPT: Final = "attempt"
_CANCELLED: Final = "cancelled"
_ENDED: Final = "ended"
_FINAL: Final = "final"
_FACTS: Final = "facts"
_FIELDS: Final = (_ATTEMPT, _CANCELLED, _ENDED)
_MARK: Final = "\0"
"""What a list begins with; no text holds it. A list without it has lost its beginning."""


class ReplyGoneError(Exception):
    """Nobody waits for this attempt any more: the reply has ended, or another attempt has begun."""


class ReplyCancelledError(Exception):
    """The reply was cancelled before this chunk."""


class DraftsUnavailableError(Exception):
    """Redis does not answer."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A reply so far.

    Attributes:
        content: the contents of the chunks 0 to `next_index` - 1 of the attempt, joined.
        next_index: the index of the chunk that comes next.
        attempt: 1, 2, …
    """

    content: str
    next_index: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Kept:
    """What a cancelled reply came to.

    Attributes:
        attempt: the one that counts; 0 when none had begun.
        texts: the contents of its chunks.
        is_final: whether the last of them is the reply's final chunk.
        metadata: what its worker knew of it by then.
    """

    attempt: int
    texts: tuple[str, ...] = ()
    is_final: bool = False
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a reply stands.

    Attributes:
        attempt: the latest that has begun, or the latest before it was cancelled; 0 when none has.
        kept: the number of its chunks that count, once somebody asked that it end where it is; else None.
        ended: it is stored; nothing more is to be said.
        known: Redis has said so; else it is what the caller took it for.
    """

    attempt: int
    kept: int | None = None
    ended: bool = False
    known: bool = True

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked that it end where it is."""
        return self.kept is not None


class ChunkWrite:
    """One chunk on its way to Redis, in the same round trip as the look at who is interested.

    `metadata` is what is known of the reply, where that is new.

    Attributes:
        whole: Redis has every chunk up to this one; False while that is not known.
        cancelled: somebody asked that the reply end where it is; this chunk still counts.
    """

    def __init__(
        self,
        reply_id: str,
        *,
        attempt: int,
        index: int,
        text: str,
        is_final: bool = False,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._reply_id = reply_id
        self._attempt = attempt
        self._index = index
        self._text = text
        self._aside: dict[Any, Any] = {}
        if is_final:
            self._aside[_FINAL] = f"{attempt}:{index}"
        if metadata is not None:
            self._aside[_facts(attempt)] = orjson.dumps(metadata)
        self.whole = False
        self.cancelled = False

    def queue(self, pipeline: Pipeline) -> None:
        """Adds its commands."""
        key = _list(self._reply_id, self._attempt)
        if self._aside:
            pipeline.hset(_state(self._reply_id), mapping=self._aside)
        if self._index == 0:
            pipeline.rpush(key, _MARK, self._text)
        else:
            pipeline.rpushx(key, self._text)  # a list that is gone stays so, until it is mended
        pipeline.hmget(_state(self._reply_id), *_FIELDS)
        if self._index == 0:
            pipeline.expire(key, EXPIRY_SECONDS)

    def take(self, answers: Sequence[Any]) -> None:
        """Takes what they were answered.

        Raises:
            ReplyGoneError: nobody waits for this chunk; it must not be sent.
            ReplyCancelledError: nor must this one; those before it count.
        """
        length, fields, *_ = answers[bool(self._aside) :]
        standing = _standing(fields)
        if standing.ended or standing.attempt > self._attempt:
            raise ReplyGoneError
        if standing.kept is not None and not (
            standing.attempt == self._attempt and self._index < standing.kept
        ):
            raise ReplyCancelledError
        self.whole = length == self._index + 2 and standing.attempt == self._attempt
        self.cancelled = standing.cancelled


class Drafts:
    """Keeps the drafts. Where Redis is away, writing is logged and skipped, and there is none to read."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._skip_until = 0.0

    async def start(self, reply_id: str, at_least: int) -> Standing:
        """An attempt begins, unless the reply was cancelled or has ended; its number is in the answer.

        Args:
            reply_id: the reply.
            at_least: the number that the attempt has as far as the caller knows.
        """
        standing = await self._done("start", lambda: self._start(reply_id, at_least))
        return Standing(at_least, known=False) if standing is None else standing

    async def mend(self, reply_id: str, attempt: int, texts: Sequence[str]) -> None:
        """Writes the whole of an attempt, given the contents of its chunks."""
        await self._done("mend", lambda: self._mend(reply_id, attempt, texts))

    async def read(self, reply_id: str) -> Draft | None:
        """The reply's draft; None when no attempt has begun, or it cannot be known."""
        return await self._done("read", lambda: self._read(reply_id))

    async def cancel(self, reply_id: str) -> Kept:
        """Has the reply end where it is; what it came to, again the same when it was cancelled before.

        Raises:
            DraftsUnavailableError: Redis does not say.
        """
        try:
            async with asyncio.timeout(_IO_SECONDS):
                while True:
                    with suppress(WatchError):
                        return await self._cancel(reply_id)
        except (RedisError, OSError, TimeoutError) as error:
            raise DraftsUnavailableError from error

    async def standing(self, reply_ids: Iterable[str]) -> dict[str, Standing]:
        """How these replies stand; those of which it is not known are left out."""
        ids = list(reply_ids)
        return await self._done("standing", lambda: self._standing_of(ids)) or {}

    async def end(self, reply_id: str) -> None:
        """The reply is stored: its text goes, and whoever still writes it learns of it."""
        await self._done("end", lambda: self._end(reply_id))

    async def _start(self, reply_id: str, at_least: int) -> Standing:
        state = _state(reply_id)
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hincrby(state, _ATTEMPT, 1)
        pipeline.hmget(state, *_FIELDS)
        pipeline.expire(state, EXPIRY_SECONDS)
        _, fields, _ = await pipeline.execute()
        begun = _standing(fields)
        if begun.cancelled or begun.ended:
            # What the attempt before it wrote stays what counts.
            await self._redis.hincrby(state, _ATTEMPT, -1)
        elif begun.attempt < at_least:
            await self._redis.hset(state, _ATTEMPT, str(at_least))
            return Standing(at_least)
        return begun

    async def _mend(self, reply_id: str, attempt: int, texts: Sequence[str]) -> None:
        key, state = _list(reply_id, attempt), _state(reply_id)
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.delete(key)
        pipeline.rpush(key, _MARK, *texts)
        pipeline.expire(key, EXPIRY_SECONDS)
        pipeline.hset(state, _ATTEMPT, str(attempt))
        pipeline.expire(state, EXPIRY_SECONDS)
        await pipeline.execute()

    async def _read(self, reply_id: str) -> Draft | None:
        standing = _standing(await self._redis.hmget(_state(reply_id), list(_FIELDS)))
        if not standing.attempt or standing.ended:
            return None
        last = -1 if standing.kept is None else standing.kept
        listed = await self._redis.lrange(_list(reply_id, standing.attempt), 0, last)
        texts = list(map(_decoded, listed))
        if texts and texts[0] != _MARK:
            return None  # caught while it is being mended
        return Draft("".join(texts[1:]), max(0, len(texts) - 1), standing.attempt)

    async def _cancel(self, reply_id: str) -> Kept:
        """Raises WatchError when the reply went on meanwhile."""
        state = _state(reply_id)
        async with self._redis.pipeline(transaction=True) as pipeline:
            await pipeline.watch(state)
            *fields, final = await pipeline.hmget(state, *_FIELDS, _FINAL)
            standing = _standing(fields)
            key = _list(reply_id, standing.attempt)
            await pipeline.watch(key)
            last = -1 if standing.kept is None else standing.kept
            texts = tuple(map(_decoded, await pipeline.lrange(key, 0, last)))
            texts = texts[1:] if texts[:1] == (_MARK,) else ()  # else Redis has lost the beginning
            last_one = f"{standing.attempt}:{len(texts) - 1}"
            facts = await pipeline.hget(state, _facts(standing.attempt))
            kept = Kept(
                standing.attempt,
                texts,
                is_final=_decoded(final or "") == last_one,
                metadata=None if facts is None else orjson.loads(facts),
            )
            if standing.kept is None:
                pipeline.multi()  # type: ignore[no-untyped-call]
                pipeline.hset(state, _CANCELLED, f"{kept.attempt}:{len(texts)}")
                pipeline.expire(state, EXPIRY_SECONDS)
                await pipeline.execute()
            return kept

    async def _standing_of(self, reply_ids: Sequence[str]) -> dict[str, Standing]:
        pipeline = self._redis.pipeline(transaction=False)
        for reply_id in reply_ids:
            pipeline.hmget(_state(reply_id), *_FIELDS)
        return dict(zip(reply_ids, map(_standing, await pipeline.execute()), strict=True))

    async def _end(self, reply_id: str) -> None:
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hset(_state(reply_id), _ENDED, "1")
        pipeline.expire(_state(reply_id), EXPIRY_SECONDS)
        await pipeline.execute()
        (standing,) = (await self._standing_of([reply_id])).values()
        if standing.attempt:
            await self._redis.delete(*(_list(reply_id, one) for one in range(1, standing.attempt + 1)))

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


def _state(reply_id: str) -> str:
    return f"roomcast:reply:{reply_id}"


def _facts(attempt: int) -> str:
    return f"{_FACTS}:{attempt}"


def _list(reply_id: str, attempt: int) -> str:
    return f"roomcast:reply:{reply_id}:{attempt}"


def _standing(fields: Sequence[bytes | str | None]) -> Standing:
    attempt, cancelled, ended = fields
    if cancelled is None:
        return Standing(int(attempt or 0), ended=ended is not None)
    counting, _, kept = _decoded(cancelled).partition(":")
    return Standing(int(counting), int(kept), ended is not None)


def _decoded(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
