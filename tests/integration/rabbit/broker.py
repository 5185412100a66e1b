"""RabbitMQ under test: a gateway's listener, raw channels, and what the broker can be made to do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import aiormq
import pytest
from support.servers import RabbitServer
from support.servers.rabbitmq import rabbit_channel

from shared.bus import Bus, BusUnavailableError, Routed
from shared.events import MESSAGE_CREATED, Event

BOUND = 30.0
GATEWAY_QUEUE = "gateway.a"


class Gateway:
    """A listener that keeps what it is told; `links` holds a gap flag for each link, and None for a loss."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.links: list[bool | None] = []

    def relay(self, events: Sequence[Event]) -> None:
        self.events += events

    def linked(self, *, gap: bool) -> None:
        self.links.append(gap)

    def unlinked(self) -> None:
        self.links.append(None)


@asynccontextmanager
async def running(work: Awaitable[None]) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def gateway(bus: Bus, instance: str = "a") -> AsyncIterator[Gateway]:
    listener = Gateway()
    async with running(bus.consume_gateway(instance, listener)):
        await until(lambda: bool(listener.links))
        yield listener


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND):
        while not met():  # noqa: ASYNC110  whatever the test waits for
            await asyncio.sleep(0.01)


async def published(bus: Bus, *batch: Routed) -> None:
    """Publishes as a relay does: again until confirmed."""
    async with asyncio.timeout(BOUND):
        while True:
            try:
                return await bus.publish(batch)
            except BusUnavailableError:
                await asyncio.sleep(0.1)


def message(number: int = 0) -> Event:
    return Event(MESSAGE_CREATED, b"{}", name="new-msg", rooms=("chat:1",), seq=number)


def to(event: Event, *gateways: str) -> Routed:
    return Routed(event, frozenset(gateways))


async def close_connection(rabbitmq: RabbitServer, name: str) -> None:
    """Has the broker close the connection that it shows under `name`."""
    lines = (await rabbitmq.ctl("list_connections", "pid", "client_properties")).splitlines()
    (pid,) = (line.split()[0] for line in lines if f'"{name}"' in line)
    await rabbitmq.ctl("close_connection", pid, "test")


async def require_no_queue(url: str, name: str) -> None:
    async with rabbit_channel(url) as channel:
        with pytest.raises(aiormq.exceptions.ChannelNotFoundEntity):
            await channel.queue_declare(name, passive=True)
