"""The bus on RabbitMQ loses nothing unseen, whatever happens to the link or the broker."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiormq
import pytest
from aiormq.abc import AbstractChannel
from support.servers import RabbitServer

from shared.bus import Bus, BusUnavailableError, Job, Routed, WorkQueue
from shared.bus import ack_policy as settling
from shared.bus import deduplication as recent
from shared.bus.ack_policy import ATTEMPTS
from shared.bus.metrics import REPEATED
from shared.bus.rabbit import sender, subscription
from shared.bus.rabbit.bus import rabbit_bus
from shared.bus.rabbit.topology import (
    DEAD_LETTERS,
    EVENTS,
    QUEUES,
    Queue,
    TopologyMismatchError,
    declare,
    declare_queue,
    gateway_queue,
)
from shared.events import MESSAGE_CREATED, REPLY_FINISHED, REPLY_REQUESTED, Event

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
async def rabbit_channel(url: str) -> AsyncIterator[AbstractChannel]:
    connection = await aiormq.connect(url)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


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
        await rabbitmq.ctl("close_all_connections", "test")
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


async def test_a_killed_broker_costs_no_confirmed_job(bus: Bus, rabbitmq: RabbitServer, url: str) -> None:
    """Work queues survive a crash; consumers and publishers come back by themselves; gateways see a gap."""
    done: set[str] = set()

    async def handle(job: Job) -> None:
        done.add(job.event.id)

    sent = [Event(REPLY_FINISHED, b"{}") for _ in range(20)]
    async with gateway(bus) as a:
        await bus.publish([to(event) for event in sent])
        await rabbitmq.write_down_queues()
        await rabbitmq.kill()
        began = asyncio.get_running_loop().time()
        with pytest.raises(BusUnavailableError):
            await bus.publish([to(message(), "a")])
        with pytest.raises(BusUnavailableError):
            await bus.ping()
        assert asyncio.get_running_loop().time() - began < 6
        await rabbitmq.start()
        async with running(bus.consume(WorkQueue.API_REPLIES, handle, concurrency=4)):
            await until(lambda: done == {event.id for event in sent})
            await until(lambda: a.links[-1] is True)
            event = message(7)
            await published(bus, to(event, "a"))
            await until(lambda: a.events == [event])


async def test_a_missing_work_queue_is_not_taken_for_delivered(bus: Bus, url: str) -> None:
    """Unroutable work is refused, and the queue declared again."""
    async with rabbit_channel(url) as channel:
        await channel.queue_delete(WorkQueue.API_REPLIES)
        with pytest.raises(BusUnavailableError):
            await bus.publish([to(Event(REPLY_FINISHED, b"{}"), "a")])
        await bus.publish([to(Event(REPLY_FINISHED, b"{}"), "a")])
        found = await channel.queue_declare(WorkQueue.API_REPLIES, passive=True)
        assert found.message_count == 1


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


async def test_garbage_in_a_work_queue_is_a_dead_letter(bus: Bus, url: str) -> None:
    """With its body and the reason; and work goes on, at the API too, which gets dead requests."""
    done: list[str] = []

    async def handle(job: Job) -> None:
        done.append(job.event.id)

    event = Event(REPLY_FINISHED, b"{}")
    async with (
        running(bus.consume(WorkQueue.ASSISTANT_REQUESTS, handle, concurrency=1)),
        running(bus.consume(WorkQueue.API_REPLIES, handle, concurrency=1)),
        rabbit_channel(url) as channel,
    ):
        odd = aiormq.spec.Basic.Properties(headers={"cloudEvents_id": bytearray(b"1"), "other": "x"})
        await channel.basic_publish(b"junk", exchange=EVENTS, routing_key=REPLY_REQUESTED, properties=odd)
        await bus.publish([to(event)])
        await until(lambda: done == [event.id])
        await until_buried(channel, 1)
        letter = await channel.basic_get(DEAD_LETTERS, no_ack=True)
        assert letter.body == b"junk"
        headers = letter.header.properties.headers or {}
        assert "specversion" in str(headers["reason"])
        assert headers["queue"] == WorkQueue.ASSISTANT_REQUESTS.value


async def test_a_job_whose_consumers_die_reaches_the_api_in_the_end(bus: Bus, url: str) -> None:
    """The broker counts deliveries itself: a job that kills its workers does not come back for ever."""
    told: list[Job] = []

    async def tell(job: Job) -> None:
        told.append(job)

    request = Event(REPLY_REQUESTED, b"{}")
    await bus.publish([to(request)])
    counts = []
    for _ in range(ATTEMPTS):
        async with rabbit_channel(url) as channel:
            taken: asyncio.Future[aiormq.abc.DeliveredMessage] = asyncio.get_running_loop().create_future()

            async def take(message: aiormq.abc.DeliveredMessage) -> None:
                taken.set_result(message)  # noqa: B023  called within this round

            await channel.basic_qos(prefetch_count=1)
            await channel.basic_consume(WorkQueue.ASSISTANT_REQUESTS, take)
            headers = (await asyncio.wait_for(taken, BOUND)).header.properties.headers or {}
            counts.append(headers.get("x-delivery-count"))
    assert counts == [None, *range(1, ATTEMPTS)]
    async with running(bus.consume(WorkQueue.API_REPLIES, tell, concurrency=1)):
        await until(lambda: bool(told))
    assert [(job.event, job.dead, job.attempt) for job in told] == [(request, True, 1)]


async def test_jobs_of_a_lost_link_are_cancelled_and_done_again(bus: Bus, rabbitmq: RabbitServer) -> None:
    """One job is not done by two at once for long."""
    begun: list[int] = []
    cancelled: list[int] = []
    finished: list[int] = []

    async def handle(job: Job) -> None:
        begun.append(job.attempt)
        if job.attempt == 1:
            try:
                await asyncio.sleep(BOUND)
            except asyncio.CancelledError:
                cancelled.append(job.attempt)
                raise
        finished.append(job.attempt)

    async with running(bus.consume(WorkQueue.ASSISTANT_REQUESTS, handle, concurrency=1)):
        await bus.publish([to(Event(REPLY_REQUESTED, b"{}"))])
        await until(lambda: begun == [1])
        await rabbitmq.ctl("close_all_connections", "test")
        await until(lambda: finished == [2])
        assert cancelled == [1]


async def until_buried(channel: AbstractChannel, count: int) -> None:
    async with asyncio.timeout(BOUND):
        while (await channel.queue_declare(DEAD_LETTERS, passive=True)).message_count != count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_the_bus_opens_while_the_broker_is_away() -> None:
    """Start order does not matter; what cannot be done yet is said in time."""
    async with rabbit_bus("amqp://guest:guest@127.0.0.1:1/", name="test") as bus:
        with pytest.raises(BusUnavailableError):
            await bus.ping()
        with pytest.raises(BusUnavailableError):
            await bus.publish([to(message(), "a")])


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
