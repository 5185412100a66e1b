"""Sessions that have ended while tokens of theirs may still look good; a gateway loads them at its start.

Redis sorted set `roomcast:sessions:ended`: session id, scored with the Unix second after which none of the
session's tokens is good any more.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Final, cast

from redis.asyncio import Redis

from shared.store.keys import text

_KEY: Final = "roomcast:sessions:ended"
_WHOLE: Final = "roomcast:sessions:whole"


class EndedSessions:
    """The ended sessions that still matter; those that no longer do are dropped on the way."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def add(self, session_id: str, expires_at: int) -> None:
        """Remembers that the session has ended, until `expires_at` (Unix seconds).

        Raises:
            RedisError: Redis does not answer; nothing may have been written.
        """
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.zadd(_KEY, {session_id: expires_at}, gt=True)
            pipeline.zremrangebyscore(_KEY, "-inf", f"({int(time.time())}")
            await pipeline.execute()

    async def fill(self, ended: Mapping[str, int]) -> None:
        """Adds many, and notes that the set is whole: Redis forgets the note with the set.

        Raises:
            RedisError: Redis does not answer.
        """
        async with self._redis.pipeline(transaction=False) as pipeline:
            if ended:
                pipeline.zadd(_KEY, dict(ended), gt=True)
            pipeline.set(_WHOLE, "1")
            await pipeline.execute()

    async def is_whole(self) -> bool:
        """Returns whether it was filled since Redis has had it.

        Raises:
            RedisError: Redis does not answer.
        """
        return bool(await self._redis.exists(_WHOLE))

    async def load(self) -> dict[str, int]:
        """Returns all of them: session id to the Unix second after which it no longer matters.

        Raises:
            RedisError: Redis does not answer.
        """
        found = cast(
            "Iterable[tuple[bytes | str, float]]",
            await self._redis.zrangebyscore(_KEY, int(time.time()), "+inf", withscores=True),
        )
        return {text(member): int(score) for member, score in found}
