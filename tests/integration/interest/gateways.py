"""Gateways that hold rooms, and a publisher that looks who does."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from redis.asyncio import Redis

from shared.events import MESSAGE_CREATED, Event
from shared.interest import InterestLeases, InterestReader

FAST = {"HEARTBEAT_SECONDS": 0.2, "STALE_SECONDS": 0.6, "FORGOTTEN_SECONDS": 3.0}
Missed = list[frozenset[str] | None]


def message(*rooms: str, users: tuple[str, ...] = (), everywhere: bool = False) -> Event:
    return Event(MESSAGE_CREATED, b"{}", rooms=rooms, users=users, everywhere=everywhere)


class Gateways:
    def __init__(self, redis: Redis, stack: AsyncExitStack) -> None:
        self._redis = redis
        self._stack = stack
        self.reader = InterestReader(redis)

    async def join(self, instance: str, *rooms: str, missed: Missed | None = None) -> InterestLeases:
        told: Missed = [] if missed is None else missed
        joined = await self._stack.enter_async_context(
            InterestLeases(self._redis, instance, missed=told.append)
        )
        for room in rooms:
            await joined.hold(room)
        return joined

    async def of(self, *rooms: str) -> frozenset[str] | None:
        [answer] = await self.reader.gateways([message(*rooms)])
        return answer

    async def trusted(self) -> None:
        """Returns once the store is trusted."""
        await self.until("nobody's", lambda answer: answer is not None)

    async def until(self, room: str, met: Callable[[frozenset[str] | None], bool]) -> None:
        async with asyncio.timeout(15):
            while not met(await self.of(room)):  # noqa: ASYNC110  another gateway's doing
                await asyncio.sleep(0.02)


async def until_held(asked: InterestReader, room: str) -> None:
    async with asyncio.timeout(10):
        while await asked.gateways([message(room)]) != [frozenset({"a"})]:  # noqa: ASYNC110  a server's doing
            await asyncio.sleep(0.05)


async def until_told(missed: Missed) -> None:
    """A gateway tells of it once it has heard from Redis that the room is registered."""
    async with asyncio.timeout(5):
        while not missed:  # noqa: ASYNC110  the callback is a plain list's
            await asyncio.sleep(0.005)
