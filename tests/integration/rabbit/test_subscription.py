"""A gateway's queue on RabbitMQ: nothing lost unseen, whatever happens to the link or the broker."""

import asyncio
import sys
from typing import Any

import aiormq
import pytest
from aiormq.abc import AbstractChannel
from integration.rabbit.broker import (
    BOUND,
    GATEWAY_QUEUE,
    Gateway,
    close_connection,
    gateway,
    message,
    published,
    require_no_queue,
    running,
    to,
    until,
)
from support.servers import RabbitServer
from support.servers.rabbitmq import rabbit_channel

from shared.bus import Bus, Job, WorkQueue
from shared.bus import deduplication as recent
from shared.bus.metrics import REPEATED
from shared.bus.rabbit import subscription
from shared.bus.rabbit.topology import (
    EVENTS,
    Queue,
    declare_queue,
    gateway_queue,
)
from shared.events import REPLY_FINISHED, Event


async def test_a_short_loss_of_the_link_loses_and_repeats_nothing(bus: Bus, rabbitmq: RabbitServer) -> None:
    """The queue collects meanwhile; the gateway sees the loss, and that there is no gap."""
    async with gateway(bus) as a:
        sent = [message(number) for number in range(40)]
        for event in sent[:20]:
            await bus.publish([to(event, "a")])
        await rabbitmq.ctl("close_all_connections", "test")
        for event in sent[20:]:
            await published(bus, to(event, "a"))
        await until(lambda: len(a.events) >= 40 and a.links[-1] is not None)
        assert a.events == sent
        assert a.links == [False, None, False]


async def test_what_is_delivered_again_after_a_loss_is_relayed_once(
    bus: Bus, rabbitmq: RabbitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages that were not acknowledged yet come again; their events do not."""
    monkeypatch.setattr(subscription, "_ACK_SECONDS", BOUND)
    repeated = REPEATED._value.get()
    async with gateway(bus) as a:
        sent = [message(number) for number in range(20)]
        for event in sent:
            await bus.publish([to(event, "a")])
        await until(lambda: a.events == sent)
        await close_connection(rabbitmq, "test relays")  # not the publisher's: `last` must go out once
        last = message(20)
        await published(bus, to(last, "a"))
        await until(lambda: len(a.events) > 20)
        assert a.events == [*sent, last]
    assert REPEATED._value.get() == repeated + 20


async def test_whole_batches_that_come_again_after_a_loss_are_relayed_once(
    bus: Bus, rabbitmq: RabbitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though they hold more events than are remembered one by one."""
    monkeypatch.setattr(subscription, "_ACK_SECONDS", BOUND)
    async with gateway(bus) as a:
        sent = [message(number) for number in range(recent.EVENTS + 1000)]
        for start in range(0, len(sent), 500):
            await bus.publish([to(event, "a") for event in sent[start : start + 500]])
        await until(lambda: len(a.events) == len(sent))
        await rabbitmq.ctl("close_all_connections", "test")
        await published(bus, to(message(), "a"))
        await until(lambda: len(a.events) > len(sent))
        assert a.events[:-1] == sent


async def test_a_queue_that_is_gone_is_a_gap(bus: Bus, url: str) -> None:
    """A consumer that the broker takes away counts as a loss; the queue is made anew."""
    async with gateway(bus) as a:
        async with rabbit_channel(url) as channel:
            await channel.queue_delete(GATEWAY_QUEUE)
        await until(lambda: len(a.links) == 3)
        assert a.links == [False, None, True]
        await bus.publish([to(message(1), "a")])
        await until(lambda: len(a.events) == 1)


async def test_a_ghost_of_the_former_link_does_not_take_a_share(
    bus: Bus, rabbitmq: RabbitServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the broker takes the old link for alive, the queue is made anew, as a gap."""
    monkeypatch.setattr(subscription, "_GHOST_POLLS", 2)
    async with gateway(bus) as a, rabbit_channel(url) as ghost:

        async def ignore(_message: object) -> None:
            return

        await ghost.basic_consume(GATEWAY_QUEUE, ignore)
        await close_connection(rabbitmq, "test relays")
        await until(lambda: len(a.links) == 3)
        assert a.links == [False, None, True]
        sent = [message(number) for number in range(10)]
        await bus.publish([to(event, "a") for event in sent])
        await until(lambda: a.events == sent)


async def test_a_gap_is_told_though_the_link_that_found_it_does_not_last(
    bus: Bus, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link after it finds a queue; it is not the one in which events were waiting."""
    failures = [OSError("the link is lost while the queue is being made anew")]

    async def declared_and_lost(channel: AbstractChannel, queue: Queue) -> None:
        await declare_queue(channel, queue)
        if failures:
            raise failures.pop()

    async with gateway(bus) as a:
        monkeypatch.setattr(subscription, "declare_queue", declared_and_lost)
        async with rabbit_channel(url) as channel:
            await channel.queue_delete(GATEWAY_QUEUE)
        await until(lambda: len(a.links) == 3)
        assert a.links == [False, None, True]
        assert not failures


async def test_a_consumer_is_missed_though_it_goes_as_soon_as_it_comes(
    bus: Bus, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker may take it away before whoever asked for it has looked at the answer."""
    consume = aiormq.Channel.basic_consume

    async def consumed_and_gone(channel: aiormq.Channel, queue: str, *arguments: object) -> object:
        monkeypatch.undo()
        gone = asyncio.Event()
        channel.on_consumer_cancel_callbacks.add(lambda _: gone.set())
        answer = await consume(channel, queue, *arguments)  # type: ignore[arg-type]
        async with rabbit_channel(url) as another:
            await another.queue_delete(queue)
        await asyncio.wait_for(gone.wait(), BOUND)
        return answer

    monkeypatch.setattr(aiormq.Channel, "basic_consume", consumed_and_gone)
    async with gateway(bus) as a:
        await until(lambda: len(a.links) == 3)
        assert a.links == [False, None, True]
    monkeypatch.setattr(aiormq.Channel, "basic_consume", consumed_and_gone)
    handled = asyncio.Event()

    async def handle(_job: Job) -> None:
        handled.set()

    async with running(bus.consume(WorkQueue.API_REPLIES, handle, concurrency=1)):
        await published(bus, to(Event(REPLY_FINISHED, b"{}")))
        await asyncio.wait_for(handled.wait(), BOUND)


async def test_a_gateway_that_ends_while_it_begins_leaves_no_queue(bus: Bus, url: str) -> None:
    """Nobody would read it, and the next gateway of that name would have what is in it."""
    begun = asyncio.Event()

    class Beginning(Gateway):
        def linked(self, *, gap: bool) -> None:
            super().linked(gap=gap)
            begun.set()

    async with running(bus.consume_gateway("a", Beginning())):
        await asyncio.wait_for(begun.wait(), BOUND)  # now it waits for the answer to its wish to consume
    await require_no_queue(url, GATEWAY_QUEUE)


async def test_garbage_does_not_stop_a_gateway(bus: Bus, url: str) -> None:
    """Messages that cannot be decoded are passed over."""
    async with gateway(bus) as a, rabbit_channel(url) as channel:
        for body in (b"", b"\xff", b'{"no":"event"}'):
            await channel.basic_publish(body, exchange=EVENTS, routing_key="gateway.all")
        event = message(1)
        await bus.publish([to(event, "a")])
        await until(lambda: a.events == [event])
        await asyncio.sleep(0.2)
    await require_no_queue(url, GATEWAY_QUEUE)


@pytest.mark.parametrize("step", ["declare", "declare_queue"])
async def test_a_gateway_that_ends_before_it_begins_leaves_no_queue(
    bus: Bus, url: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """It may have declared its queue, or found the one of its former link, when it is told to stop."""
    there = asyncio.Event()

    async def declared_and_waiting(*arguments: object) -> None:
        there.set()
        await asyncio.get_running_loop().create_future()

    async with rabbit_channel(url) as channel:
        await declare_queue(channel, gateway_queue("a"))
    monkeypatch.setattr(subscription, step, declared_and_waiting)
    async with running(bus.consume_gateway("a", Gateway())):
        await asyncio.wait_for(there.wait(), BOUND)
    await require_no_queue(url, GATEWAY_QUEUE)


async def test_headers_nested_without_end_do_not_stop_a_gateway(bus: Bus, url: str) -> None:
    """They are passed over like what else cannot be decoded; left to the link, they would end each anew."""
    nested: dict[str, Any] = {}
    for _ in range(2000):
        nested = {"x": nested}
    limit = sys.getrecursionlimit()
    async with gateway(bus) as a, rabbit_channel(url) as channel:
        sys.setrecursionlimit(20_000)
        try:
            odd = aiormq.spec.Basic.Properties(headers=nested)
            await channel.basic_publish(b"{}", exchange=EVENTS, routing_key="gateway.all", properties=odd)
        finally:
            sys.setrecursionlimit(limit)
        event = message(1)
        await bus.publish([to(event, "a")])
        await until(lambda: a.events == [event])
        assert a.links == [False]
