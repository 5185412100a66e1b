"""The promises of every bus about jobs."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from integration.bus.buses import BOUND, Broker, eventually, running, to, until

from shared.bus import BusUnavailableError, Job, PoisonedEventError, WorkQueue
from shared.bus.ack_policy import ATTEMPTS
from shared.events import (
    REPLY_FINISHED,
    REPLY_REQUESTED,
    Event,
    UndecodableEventError,
)


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
