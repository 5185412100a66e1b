"""Work queues on RabbitMQ: jobs survive links, consumers and the broker, and end as dead letters."""

import asyncio

import aiormq
import pytest
from aiormq.abc import AbstractChannel
from integration.rabbit.broker import BOUND, gateway, message, published, running, to, until
from support.servers import RabbitServer
from support.servers.rabbitmq import rabbit_channel

from shared.bus import Bus, BusUnavailableError, Job, WorkQueue
from shared.bus.ack_policy import ATTEMPTS
from shared.bus.rabbit.topology import (
    DEAD_LETTERS,
    EVENTS,
)
from shared.events import REPLY_FINISHED, REPLY_REQUESTED, Event


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
