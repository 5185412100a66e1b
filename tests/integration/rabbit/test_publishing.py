"""Publishing to RabbitMQ: what is not confirmed is said in time, and the topology is declared again."""

import asyncio
from collections.abc import Awaitable

import pytest
from integration.rabbit.broker import (
    BOUND,
    GATEWAY_QUEUE,
    Gateway,
    gateway,
    message,
    published,
    to,
    until,
)
from support.servers import RabbitServer
from support.servers.rabbitmq import rabbit_channel

from shared.bus import Bus, BusUnavailableError, Job, WorkQueue
from shared.bus.rabbit import sender
from shared.bus.rabbit.bus import rabbit_bus
from shared.bus.rabbit.topology import (
    EVENTS,
    TopologyMismatchError,
)
from shared.events import MESSAGE_CREATED, REPLY_FINISHED, Event


async def test_a_missing_exchange_is_declared_again(bus: Bus, url: str) -> None:
    """An operator's slip is healed by the next link."""
    async with rabbit_channel(url) as channel:
        await channel.exchange_delete(EVENTS)
    with pytest.raises(BusUnavailableError):
        await bus.publish([to(message(), "a")])
    await published(bus, to(Event(REPLY_FINISHED, b"{}")))


async def test_a_broker_that_does_not_confirm_is_reported_in_time(
    bus: Bus, rabbitmq: RabbitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publisher waits for a bound, not for ever; later it goes on by itself."""
    monkeypatch.setattr(sender, "CONFIRM_BOUND_SECONDS", 0.5)
    await rabbitmq.ctl("set_vm_memory_high_watermark", "0.00001")
    try:
        await asyncio.sleep(1)
        with pytest.raises(BusUnavailableError):
            await bus.publish([to(Event(REPLY_FINISHED, b"{}"))])
    finally:
        await rabbitmq.ctl("set_vm_memory_high_watermark", "0.4")
    await published(bus, to(Event(REPLY_FINISHED, b"{}")))


@pytest.mark.parametrize("queue", [WorkQueue.ASSISTANT_REQUESTS.value, GATEWAY_QUEUE])
async def test_other_arguments_on_the_broker_are_a_clear_error(url: str, queue: str) -> None:
    """It names the queue and says what to do."""
    async with rabbit_channel(url) as channel:
        await channel.queue_delete(queue)
        await channel.queue_declare(queue, durable=True, arguments={"x-max-length": 1})
        try:
            async with rabbit_bus(url, name="test") as bus:
                if queue == GATEWAY_QUEUE:
                    work: Awaitable[None] = bus.consume_gateway("a", Gateway())
                else:
                    work = bus.consume(WorkQueue.ASSISTANT_REQUESTS, _never, concurrency=1)
                    with pytest.raises(BusUnavailableError, match=queue):
                        await bus.publish([to(message(), "a")])
                with pytest.raises(TopologyMismatchError, match=f"{queue}.*delete it"):
                    await asyncio.wait_for(work, BOUND)
        finally:
            await channel.queue_delete(queue)


async def _never(_job: Job) -> None:
    raise AssertionError


async def test_an_integrators_queue_sees_a_plain_cloudevent(bus: Bus, url: str) -> None:
    """Binary mode, under the event's type, without the gateways' names."""
    async with gateway(bus) as a, rabbit_channel(url) as channel:
        mine = (await channel.queue_declare(exclusive=True)).queue or ""
        await channel.queue_bind(mine, EVENTS, routing_key=MESSAGE_CREATED)
        event = message(3)
        await bus.publish([to(event, "a", "b")])
        await until(lambda: a.events == [event])
        got = await channel.basic_get(mine, no_ack=True)
        properties = got.header.properties
        assert got.body == event.body
        assert properties.content_type == "application/json"
        assert properties.delivery_mode == 2
        assert properties.headers == {
            "cloudEvents_specversion": "1.0",
            "cloudEvents_id": event.id,
            "cloudEvents_source": "/roomcast",
            "cloudEvents_type": MESSAGE_CREATED,
            "cloudEvents_time": event.time,
            "cloudEvents_name": "new-msg",
            "cloudEvents_rooms": ["chat:1"],
            "cloudEvents_seq": 3,
        }


async def test_the_bus_opens_while_the_broker_is_away() -> None:
    """Start order does not matter; what cannot be done yet is said in time."""
    async with rabbit_bus("amqp://guest:guest@127.0.0.1:1/", name="test") as bus:
        with pytest.raises(BusUnavailableError):
            await bus.ping()
        with pytest.raises(BusUnavailableError):
            await bus.publish([to(message(), "a")])
