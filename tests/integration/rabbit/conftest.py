"""A broker whose queues are declared and empty, and a bus on it."""

from collections.abc import AsyncIterator

import pytest
from support.servers import RabbitServer
from support.servers.rabbitmq import rabbit_channel

from shared.bus import Bus
from shared.bus import ack_policy as settling
from shared.bus.rabbit.bus import rabbit_bus
from shared.bus.rabbit.topology import (
    QUEUES,
    declare,
)


@pytest.fixture
async def url(rabbitmq: RabbitServer, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(settling, "_PAUSES", (0.01,))
    async with rabbit_channel(rabbitmq.url) as channel:
        await declare(channel)
        for queue in QUEUES:
            await channel.queue_purge(queue.name)
    return str(rabbitmq.url)


@pytest.fixture
async def bus(url: str) -> AsyncIterator[Bus]:
    async with rabbit_bus(url, name="test") as bus:
        await bus.ping()
        yield bus
