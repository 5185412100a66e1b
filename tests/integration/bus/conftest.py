"""Each bus in turn."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from integration.bus.buses import Broker, Local, Rabbit
from support.servers import RabbitServer
from support.servers.rabbitmq import rabbit_channel

from shared.bus import ack_policy as settling
from shared.bus.rabbit.topology import QUEUES, declare


@pytest.fixture(params=["rabbitmq", "local"])
async def broker(
    request: pytest.FixtureRequest, rabbitmq: RabbitServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Broker]:
    monkeypatch.setattr(settling, "_PAUSES", (0.01,))
    if request.param == "local":
        yield Local()
        return
    async with rabbit_channel(rabbitmq.url) as channel:
        await declare(channel)
        for queue in QUEUES:
            await channel.queue_purge(queue.name)
    async with AsyncExitStack() as stack:
        yield Rabbit(rabbitmq.url, stack)
