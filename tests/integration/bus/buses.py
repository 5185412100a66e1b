"""Both buses under test, with what only their insides know."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from support.servers.rabbitmq import rabbit_channel

from shared.bus import Bus, Routed
from shared.bus.local import LocalBus
from shared.bus.rabbit.bus import rabbit_bus
from shared.bus.rabbit.topology import DEAD_LETTERS
from shared.events import (
    MESSAGE_CREATED,
    Event,
)

BOUND = 15.0


class Broker(Protocol):
    """One of the buses under test, and what an operator sees of it."""

    async def bus(self) -> Bus: ...

    async def dead_letters(self) -> list[tuple[str, str]]:
        """(event type, reason) of each."""


class Rabbit:
    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self._url = url
        self._stack = stack

    async def bus(self) -> Bus:
        bus = await self._stack.enter_async_context(rabbit_bus(self._url, name="test"))
        await bus.ping()
        return bus

    async def dead_letters(self) -> list[tuple[str, str]]:
        letters = []
        async with rabbit_channel(self._url) as channel:
            while (message := await channel.basic_get(DEAD_LETTERS, no_ack=True)).routing_key:
                headers: dict[str, Any] = message.header.properties.headers or {}
                letters.append((str(headers["cloudEvents_type"]), str(headers.get("reason"))))
        return letters


class Local:
    def __init__(self) -> None:
        self._bus = LocalBus()

    async def bus(self) -> Bus:
        return self._bus

    async def dead_letters(self) -> list[tuple[str, str]]:
        return [(letter.event.type, letter.reason) for letter in self._bus.dead_letters]


class Gateway:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[list[Event]] = []
        self.links: list[bool | None] = []
        self._changed = asyncio.Event()

    @property
    def events(self) -> list[Event]:
        return [event for call in self.calls for event in call]

    @property
    def ids(self) -> list[str]:
        return [event.id for event in self.events]

    def relay(self, events: Sequence[Event]) -> None:
        self.calls.append(list(events))
        self._changed.set()

    def linked(self, *, gap: bool) -> None:
        self.links.append(gap)
        self._changed.set()

    def unlinked(self) -> None:
        self.links.append(None)
        self._changed.set()

    async def until(self, met: Callable[["Gateway"], bool], bound: float = BOUND) -> None:
        async with asyncio.timeout(bound):
            while not met(self):
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def running(*work: Awaitable[None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Runs `work` beside the block, and cancels it at the end."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) or end is None for end in ended), ended


@asynccontextmanager
async def gateway(bus: Bus, instance: str) -> AsyncIterator[Gateway]:
    listener = Gateway()
    async with running(bus.consume_gateway(instance, listener)):
        await listener.until(lambda it: bool(it.links))
        yield listener


def message(number: int = 0) -> Event:
    return Event(MESSAGE_CREATED, b'{"number":%d}' % number, name="new-msg", rooms=("chat:1",), seq=number)


def to(event: Event, *gateways: str) -> Routed:
    return Routed(event, frozenset(gateways))


async def until(met: Callable[[], bool], bound: float = BOUND) -> None:
    async with asyncio.timeout(bound):
        while not met():  # noqa: ASYNC110  whatever the test waits for
            await asyncio.sleep(0.01)


async def eventually(
    look: Callable[[], Awaitable[list[tuple[str, str]]]], *, count: int = 1
) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    async with asyncio.timeout(BOUND):
        while len(found) < count:
            found += await look()
            await asyncio.sleep(0.02)
    return found
