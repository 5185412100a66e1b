"""The API's gauges of what waits, on real servers."""

import asyncio
from datetime import timedelta

import aiormq
import pytest
from prometheus_client import REGISTRY
from support.database import Database
from support.servers import RabbitServer

from chat_api.database.connections import connect
from chat_api.outbox import lag as backlog
from chat_api.outbox.lag import Backlog
from chat_api.outbox.record import record
from shared.bus import BusUnavailableError
from shared.bus.local import LocalBus
from shared.bus.rabbit.bus import rabbit_bus
from shared.bus.rabbit.topology import DEAD, DEAD_LETTERS
from shared.events import Event
from shared.ids import now, rfc3339


def sample(name: str) -> float:
    value = REGISTRY.get_sample_value(name)
    assert value is not None
    return value


async def test_the_lag_grows_while_nothing_is_published(
    fresh: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It grows whether this instance relays or not, and between looks; it ends with the backlog."""
    monkeypatch.setattr(backlog, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(backlog, "_SHARE", 0)
    old = rfc3339(now() - timedelta(seconds=90))
    looking = asyncio.create_task(Backlog(lambda: connect(fresh.url), LocalBus()).run())
    try:
        async with fresh.engine.begin() as connection:
            await record(connection, *(Event("chat.read", b"{}", time=old) for _ in range(3)))
        await until("roomcast_api_outbox_unpublished", 3)
        first = sample("roomcast_api_outbox_lag_seconds")
        assert 90 <= first < 120
        await asyncio.sleep(0.01)
        assert sample("roomcast_api_outbox_lag_seconds") > first
        await fresh.connection.execute("UPDATE events SET published_at = now()")
        await until("roomcast_api_outbox_unpublished", 0)
        assert sample("roomcast_api_outbox_lag_seconds") == 0
    finally:
        looking.cancel()
        await asyncio.wait([looking])


async def until(name: str, value: float) -> None:
    async with asyncio.timeout(10):
        while sample(name) != value:  # noqa: ASYNC110  a gauge tells nobody
            await asyncio.sleep(0.02)


async def test_the_broker_s_dead_letters_are_counted(rabbitmq: RabbitServer) -> None:
    """Without touching them."""
    async with rabbit_bus(rabbitmq.url, name="test") as bus:
        before = await bus.count_dead_letters()
        broker = await aiormq.connect(rabbitmq.url)
        channel = await broker.channel()
        await channel.basic_publish(b"{}", exchange=DEAD, routing_key="x")
        async with asyncio.timeout(10):
            while await bus.count_dead_letters() != before + 1:  # noqa: ASYNC110  the broker tells nobody
                await asyncio.sleep(0.05)
        assert await bus.count_dead_letters() == before + 1
        await channel.queue_purge(DEAD_LETTERS)
        await broker.close()
    async with rabbit_bus("amqp://guest:guest@127.0.0.1:1/", name="test") as away:
        with pytest.raises(BusUnavailableError):
            await away.count_dead_letters()
