"""The promises of every bus: one set of tests over RabbitMQ and over the bus within a process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

import aiormq
import pytest
from support.servers import RabbitServer

from shared.bus import Bus, BusUnavailableError, Job, PoisonedEventError, Routed, WorkQueue
from shared.bus import ack_policy as settling
from shared.bus.ack_policy import ATTEMPTS
from shared.bus.local import LocalBus
from shared.bus.rabbit.bus import rabbit_bus
from shared.bus.rabbit.topology import DEAD_LETTERS, QUEUES, declare
from shared.events import (
    MESSAGE_CREATED,
    REPLY_CANCEL_REQUESTED,
    REPLY_CHUNK,
    REPLY_FINISHED,
    REPLY_REQUESTED,
    Event,
    UndecodableEventError,
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
async def rabbit_channel(url: str) -> AsyncIterator[aiormq.abc.AbstractChannel]:
    connection = await aiormq.connect(url)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


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


async def test_an_event_reaches_the_named_gateways_and_no_other(broker: Broker) -> None:
    """Interest routing: what a gateway does not hold never reaches it."""
    bus = await broker.bus()
    async with gateway(bus, "a") as a, gateway(bus, "b") as b, gateway(bus, "c") as c:
        event = message(1)
        last = message(2)
        await bus.publish([to(event, "a", "b")])
        await bus.publish([to(last, "c")])
        await c.until(lambda it: len(it.events) == 1)
        await b.until(lambda it: len(it.events) == 1)
        await a.until(lambda it: len(it.events) == 1)
        assert a.events == b.events == [event]
        assert c.events == [last]


async def test_an_event_whose_holders_are_unknown_reaches_every_gateway(broker: Broker) -> None:
    """Slower, never wrong."""
    bus = await broker.bus()
    async with gateway(bus, "a") as a, gateway(bus, "b") as b:
        event = message(1)
        await bus.publish([Routed(event, None)])
        for one in (a, b):
            await one.until(lambda it: bool(it.events))
            assert one.events == [event]


async def test_followers_get_what_is_followed_each_all_of_it(broker: Broker) -> None:
    """The rest of the batch does not matter, gateways or not; nothing from before, and nothing else."""
    bus = await broker.bus()
    asked = [Event(REPLY_CANCEL_REQUESTED, b'{"number":%d}' % number) for number in range(4)]
    first, second = Gateway(), Gateway()
    await bus.publish([to(asked[0])])
    async with gateway(bus, "a") as a, running(bus.follow("one", first), bus.follow("two", second)):
        for follower in (first, second):
            await follower.until(lambda it: bool(it.links))
        await bus.publish([to(asked[1])])
        await bus.publish([to(message(1), "a"), to(asked[2]), to(message(2)), Routed(message(3), None)])
        await bus.publish([to(message(4), "a"), to(asked[3])])
        for follower in (first, second):
            await follower.until(lambda it: len(it.events) >= 3)
            assert follower.events == asked[1:]
        await a.until(lambda it: len(it.events) >= 3)
        assert {event.type for event in a.events} == {MESSAGE_CREATED}


async def test_all_attributes_and_the_body_arrive_as_they_were_sent(broker: Broker) -> None:
    """Alone or in a batch, an event is the same event."""
    bus = await broker.bus()
    event = Event(
        MESSAGE_CREATED,
        b'{"content":"gr\xc3\xbc\xc3\x9fe"}',
        source="/roomcast/test",
        subject="chat",
        name="new-msg",
        rooms=("chat:1", "user:ü"),
        seq=2**40,
        users=tuple(f"member-{number}" for number in range(5000)),
        everywhere=True,
        request_id="r",
        traceparent="00-1-2-03",
    )
    small = Event(REPLY_CHUNK, b"{}", name="ai-chunk", rooms=("chat:1",))
    async with gateway(bus, "a") as a:
        await bus.publish([to(event, "a")])
        await bus.publish([to(small, "a")])
        await bus.publish([to(Event(MESSAGE_CREATED, b"x" * 3_000_000), "a"), to(message(3), "a")])
        await a.until(lambda it: len(it.events) == 4)
        assert a.events[:2] == [event, small]
        assert [len(one.body) for one in a.events[2:]] == [3_000_000, len(message(3).body)]


async def test_events_arrive_in_the_order_of_publishing(broker: Broker) -> None:
    """Lone events and batches of one publisher do not overtake each other."""
    bus = await broker.bus()
    async with gateway(bus, "a") as a, gateway(bus, "b") as b:
        sent = [message(number) for number in range(300)]
        at = 0
        for size in (1, 5, 1, 40, 3, 1, 100, 149):
            await bus.publish(
                [to(event, "a", *(["b"] if event.seq in (2, 44) else [])) for event in sent[at : at + size]]
            )
            at += size
        await a.until(lambda it: len(it.events) == 300)
        await b.until(lambda it: len(it.events) == 2)
        assert a.events == sent
        assert b.events == [sent[2], sent[44]]


async def test_a_batch_that_holds_something_for_everyone_keeps_its_order(broker: Broker) -> None:
    """One for all gateways amid others comes in its place."""
    bus = await broker.bus()
    async with gateway(bus, "a") as a:
        sent = [message(number) for number in range(3)]
        await bus.publish([to(sent[0], "a"), Routed(sent[1], None), to(sent[2], "a")])
        await a.until(lambda it: len(it.events) == 3)
        assert a.events == sent


async def test_an_event_that_is_published_again_reaches_a_gateway_once(broker: Broker) -> None:
    """Alone or amid others; told by its id."""
    bus = await broker.bus()
    async with gateway(bus, "a") as a, gateway(bus, "b") as b:
        first, second = message(1), message(2)
        await bus.publish([to(first, "a")])
        await bus.publish([to(first, "a", "b"), to(second, "a", "b")])
        await bus.publish([to(second, "a")])
        await bus.publish([to(last := message(3), "a", "b")])
        for each in (a, b):
            await each.until(lambda it: last in it.events)
            assert each.events == [first, second, last]


async def test_what_one_batch_holds_for_a_gateway_arrives_together(broker: Broker) -> None:
    """One call of the listener, so that the gateway can write it at once."""
    bus = await broker.bus()
    async with gateway(bus, "a") as a:
        sent = [message(number) for number in range(20)]
        await bus.publish([to(event, "a") for event in sent])
        await a.until(lambda it: bool(it.events))
        assert a.calls == [sent]


async def test_each_job_is_done_by_one_of_the_competing_consumers(broker: Broker) -> None:
    """Work is shared, none of it done twice."""
    first, second = await broker.bus(), await broker.bus()
    sent = [Event(REPLY_REQUESTED, b"{}") for _ in range(40)]
    done: dict[str, list[str]] = {"first": [], "second": []}
    all_done = asyncio.Event()

    def worker(name: str) -> Callable[[Job], Awaitable[None]]:
        async def handle(job: Job) -> None:
            await asyncio.sleep(0.005)
            done[name].append(job.event.id)
            if sum(map(len, done.values())) == len(sent):
                all_done.set()

        return handle

    async with running(
        first.consume(WorkQueue.ASSISTANT_REQUESTS, worker("first"), concurrency=2),
        second.consume(WorkQueue.ASSISTANT_REQUESTS, worker("second"), concurrency=2),
    ):
        await asyncio.sleep(0.3)
        await first.publish([to(event) for event in sent])
        await asyncio.wait_for(all_done.wait(), BOUND)
    assert sorted(done["first"] + done["second"]) == sorted(event.id for event in sent)
    assert done["first"]
    assert done["second"]


async def test_a_consumer_handles_no_more_at_once_than_asked(broker: Broker) -> None:
    """`concurrency` is the bound."""
    bus = await broker.bus()
    at_once = most = done = 0
    all_done = asyncio.Event()

    async def handle(_job: Job) -> None:
        nonlocal at_once, most, done
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1
        done += 1
        if done == 12:
            all_done.set()

    await bus.publish([to(Event(REPLY_FINISHED, b"{}")) for _ in range(12)])
    async with running(bus.consume(WorkQueue.API_REPLIES, handle, concurrency=3)):
        await asyncio.wait_for(all_done.wait(), BOUND)
    assert most == 3


async def test_a_failing_job_is_tried_again_and_then_becomes_a_dead_letter(broker: Broker) -> None:
    """The bound holds, the last try knows that it is, and the dead letter tells why."""
    bus = await broker.bus()
    tries: list[Job] = []
    moved_on = asyncio.Event()

    async def handle(job: Job) -> None:
        if job.event.body == b"{}":
            moved_on.set()
            return
        tries.append(job)
        raise RuntimeError("no luck")

    async with running(bus.consume(WorkQueue.API_REPLIES, handle, concurrency=1)):
        bad = Event(REPLY_FINISHED, b'{"bad":1}')
        await bus.publish([to(bad), to(Event(REPLY_FINISHED, b"{}"))])
        await asyncio.wait_for(moved_on.wait(), BOUND)
        await until(lambda: len(tries) == ATTEMPTS)
        letters = await eventually(broker.dead_letters)
    assert [job.attempt for job in tries] == list(range(1, ATTEMPTS + 1))
    assert [job.last for job in tries] == [False] * (ATTEMPTS - 1) + [True]
    assert {job.event for job in tries} == {bad}
    [(type_, reason)] = letters
    assert type_ == REPLY_FINISHED
    assert "RuntimeError: no luck" in reason


@pytest.mark.parametrize("refusal", [PoisonedEventError("no such chat"), UndecodableEventError("not JSON")])
async def test_a_poisoned_job_is_a_dead_letter_at_once(broker: Broker, refusal: Exception) -> None:
    """An event that can never be handled is not tried again, and the queue moves on."""
    bus = await broker.bus()
    tries: list[Job] = []

    async def handle(job: Job) -> None:
        tries.append(job)
        raise refusal

    async with running(bus.consume(WorkQueue.API_REPLIES, handle, concurrency=1)):
        await bus.publish([to(Event(REPLY_FINISHED, b"{}")), to(Event(REPLY_FINISHED, b"{}"))])
        await until(lambda: len(tries) == 2)
        letters = await eventually(broker.dead_letters, count=2)
    assert letters == [(REPLY_FINISHED, f"{type(refusal).__name__}: {refusal}")] * 2


async def test_a_request_given_up_reaches_the_api(broker: Broker) -> None:
    """So that the room can be told; if telling fails too, it does not come round for ever."""
    bus = await broker.bus()
    told: list[Job] = []

    async def work(_job: Job) -> None:
        raise PoisonedEventError("cannot be answered")

    async def tell(job: Job) -> None:
        told.append(job)
        raise RuntimeError("cannot tell")

    request = Event(REPLY_REQUESTED, b'{"replyId":"1"}')
    async with running(
        bus.consume(WorkQueue.ASSISTANT_REQUESTS, work, concurrency=1),
        bus.consume(WorkQueue.API_REPLIES, tell, concurrency=1),
    ):
        await bus.publish([to(request)])
        await until(lambda: len(told) == ATTEMPTS)
        await asyncio.sleep(0.3)
        assert len(told) == ATTEMPTS
    assert all(job.dead and job.event == request for job in told)
    assert [job.attempt for job in told] == list(range(1, ATTEMPTS + 1))
    assert len(await broker.dead_letters()) == 1


async def test_a_stopping_consumer_finishes_its_jobs_and_takes_no_more(broker: Broker) -> None:
    """An orderly stop loses no work and does none twice."""
    bus = await broker.bus()
    begun, go_on = asyncio.Event(), asyncio.Event()
    finished: list[int] = []

    async def slow(job: Job) -> None:
        begun.set()
        await go_on.wait()
        finished.append(job.attempt)

    events = [Event(REPLY_REQUESTED, b"{}") for _ in range(2)]
    await bus.publish([to(event) for event in events])
    consuming = asyncio.create_task(bus.consume(WorkQueue.ASSISTANT_REQUESTS, slow, concurrency=1))
    await asyncio.wait_for(begun.wait(), BOUND)
    consuming.cancel()
    await asyncio.sleep(0.2)
    assert not consuming.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(consuming, BOUND)
    assert finished == [1]
    left: list[str] = []

    async def handle(job: Job) -> None:
        left.append(job.event.id)

    async with running(bus.consume(WorkQueue.ASSISTANT_REQUESTS, handle, concurrency=1)):
        await until(lambda: bool(left))
        await asyncio.sleep(0.2)
    assert left == [events[1].id]


async def test_a_job_cut_short_is_delivered_again(broker: Broker) -> None:
    """A second cancellation ends the wait; the job goes to another consumer, counted."""
    bus = await broker.bus()
    begun = asyncio.Event()

    async def hang(_job: Job) -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    await bus.publish([to(Event(REPLY_REQUESTED, b"{}"))])
    consuming = asyncio.create_task(bus.consume(WorkQueue.ASSISTANT_REQUESTS, hang, concurrency=1))
    await asyncio.wait_for(begun.wait(), BOUND)
    consuming.cancel()
    await asyncio.sleep(0.1)
    consuming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(consuming, BOUND)
    again: list[Job] = []

    async def handle(job: Job) -> None:
        again.append(job)

    async with running(bus.consume(WorkQueue.ASSISTANT_REQUESTS, handle, concurrency=1)):
        await until(lambda: bool(again))
    assert [job.attempt for job in again] == [2]


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


async def test_whether_a_queue_is_consumed_is_known(broker: Broker) -> None:
    """Not before its link is there, and not after it."""
    bus = await broker.bus()

    async def take(_: Job) -> None:
        """Nothing comes."""

    def consuming(queue: WorkQueue) -> bool:
        try:
            bus.require_consuming(queue)
        except BusUnavailableError:
            return False
        return True

    assert not consuming(WorkQueue.API_REPLIES)
    async with (
        running(bus.consume(WorkQueue.API_REPLIES, take, concurrency=1)),
        asyncio.timeout(BOUND),
    ):
        while not consuming(WorkQueue.API_REPLIES):  # noqa: ASYNC110  readiness is asked for, not told
            await asyncio.sleep(0.01)
        assert not consuming(WorkQueue.ASSISTANT_REQUESTS)
    assert not consuming(WorkQueue.API_REPLIES)
