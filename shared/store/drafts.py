"""The reply being written: its text so far, for those who join meanwhile, and whether it is still wanted.

Its worker writes each chunk by a `ChunkWrite`; `draft_layout` tells what is where in Redis.

A cancel draws a line through the list of texts in one transaction: a chunk above it is sent, or being sent;
one below it is not, as its writer is told so in the round trip that wrote it. So whoever ends the reply knows
its text, whether the writer still lives or not.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import orjson
from redis.asyncio import Redis
from redis.exceptions import WatchError

from shared.store.draft_layout import (
    ATTEMPT,
    CANCELLED,
    ENDED,
    EXPIRY_SECONDS,
    FINAL,
    MARK,
    STANDING,
    Standing,
    chunk_position,
    facts_field,
    standing_in,
    state_key,
    texts_key,
)
from shared.store.keys import text
from shared.store.outages import ANSWER_SECONDS, REDIS_ERRORS, OptionalStore

_SKIP_SECONDS: Final = 3.0
"""For how long Redis is left alone after it failed, so that a reply is not slowed down by it."""

T = TypeVar("T")


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
    """The kept part of a cancelled reply.

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


class Drafts:
    """Keeps the drafts. Where Redis is away, writing is logged and skipped, and there is none to read."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._store = OptionalStore("drafts.skipped", seconds=_SKIP_SECONDS)

    async def start(self, reply_id: str, at_least: int) -> Standing:
        """Begins an attempt, unless the reply was cancelled or has ended; returns its number in the standing.

        Args:
            reply_id: the reply.
            at_least: the number that the attempt has as far as the caller knows.
        """
        standing = await self._asked("start", lambda: self._start(reply_id, at_least))
        return Standing(at_least, known=False) if standing is None else standing

    async def mend(self, reply_id: str, attempt: int, texts: Sequence[str]) -> None:
        """Writes the whole of an attempt, given the contents of its chunks."""
        await self._asked("mend", lambda: self._mend(reply_id, attempt, texts))

    async def read(self, reply_id: str) -> Draft | None:
        """Returns the reply's draft; None when no attempt has begun, or it cannot be known."""
        return await self._asked("read", lambda: self._read(reply_id))

    async def cancel(self, reply_id: str) -> Kept:
        """Ends the reply where it is; returns what is kept, the same again if it was cancelled before.

        Raises:
            DraftsUnavailableError: Redis does not say.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while True:
                    with suppress(WatchError):
                        return await self._cancel(reply_id)
        except REDIS_ERRORS as error:
            raise DraftsUnavailableError from error

    async def standing(self, reply_ids: Iterable[str]) -> dict[str, Standing]:
        """Returns the standing of these replies; those of which it is not known are left out."""
        ids = list(reply_ids)
        return await self._asked("standing", lambda: self._standing_of(ids)) or {}

    async def end(self, reply_id: str) -> None:
        """Marks the reply as stored: its text goes, and a worker that still writes it learns of it."""
        await self._asked("end", lambda: self._end(reply_id))

    async def _start(self, reply_id: str, at_least: int) -> Standing:
        state = state_key(reply_id)
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hincrby(state, ATTEMPT, 1)
        pipeline.hmget(state, *STANDING)
        pipeline.expire(state, EXPIRY_SECONDS)
        _, fields, _ = await pipeline.execute()
        begun = standing_in(fields)
        if begun.cancelled or begun.ended:
            # What the attempt before it wrote stays what counts.
            await self._redis.hincrby(state, ATTEMPT, -1)
        elif begun.attempt < at_least:
            await self._redis.hset(state, ATTEMPT, str(at_least))
            return Standing(at_least)
        return begun

    async def _mend(self, reply_id: str, attempt: int, texts: Sequence[str]) -> None:
        key, state = texts_key(reply_id, attempt), state_key(reply_id)
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.delete(key)
        pipeline.rpush(key, MARK, *texts)
        pipeline.expire(key, EXPIRY_SECONDS)
        pipeline.hset(state, ATTEMPT, str(attempt))
        pipeline.expire(state, EXPIRY_SECONDS)
        await pipeline.execute()

    async def _read(self, reply_id: str) -> Draft | None:
        standing = standing_in(await self._redis.hmget(state_key(reply_id), list(STANDING)))
        if not standing.attempt or standing.ended:
            return None
        last = -1 if standing.kept is None else standing.kept
        listed = await self._redis.lrange(texts_key(reply_id, standing.attempt), 0, last)
        texts = list(map(text, listed))
        if texts and texts[0] != MARK:
            return None  # caught while it is being mended
        return Draft("".join(texts[1:]), max(0, len(texts) - 1), standing.attempt)

    async def _cancel(self, reply_id: str) -> Kept:
        """Draws the line, in one transaction.

        Raises:
            WatchError: the reply went on meanwhile.
        """
        state = state_key(reply_id)
        async with self._redis.pipeline(transaction=True) as pipeline:
            await pipeline.watch(state)
            *fields, final = await pipeline.hmget(state, *STANDING, FINAL)
            standing = standing_in(fields)
            key = texts_key(reply_id, standing.attempt)
            await pipeline.watch(key)
            last = -1 if standing.kept is None else standing.kept
            texts = tuple(map(text, await pipeline.lrange(key, 0, last)))
            texts = texts[1:] if texts[:1] == (MARK,) else ()  # else Redis has lost the beginning
            last_one = chunk_position(standing.attempt, len(texts) - 1)
            facts = await pipeline.hget(state, facts_field(standing.attempt))
            kept = Kept(
                standing.attempt,
                texts,
                is_final=text(final or "") == last_one,
                metadata=None if facts is None else orjson.loads(facts),
            )
            if standing.kept is None:
                pipeline.multi()  # type: ignore[no-untyped-call]
                pipeline.hset(state, CANCELLED, chunk_position(kept.attempt, len(texts)))
                pipeline.expire(state, EXPIRY_SECONDS)
                await pipeline.execute()
            return kept

    async def _standing_of(self, reply_ids: Sequence[str]) -> dict[str, Standing]:
        pipeline = self._redis.pipeline(transaction=False)
        for reply_id in reply_ids:
            pipeline.hmget(state_key(reply_id), *STANDING)
        return dict(zip(reply_ids, map(standing_in, await pipeline.execute()), strict=True))

    async def _end(self, reply_id: str) -> None:
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hset(state_key(reply_id), ENDED, "1")
        pipeline.expire(state_key(reply_id), EXPIRY_SECONDS)
        await pipeline.execute()
        (standing,) = (await self._standing_of([reply_id])).values()
        if standing.attempt:
            await self._redis.delete(*(texts_key(reply_id, one) for one in range(1, standing.attempt + 1)))

    async def _asked(self, what: str, act: Callable[[], Awaitable[T]]) -> T | None:
        """Returns what `act` answers, or None when Redis is away."""
        return None if self._store.away else await self._store.ask(act(), what=what)
