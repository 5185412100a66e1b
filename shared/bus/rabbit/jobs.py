"""A work queue on the broker, consumed over one connection."""

import asyncio
from contextlib import suppress
from typing import Final, assert_never

import structlog
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage

from shared.bus import BusUnavailableError, Job, JobHandler, WorkQueue
from shared.bus.ack_policy import ATTEMPTS, Done, GiveUp, Retry, Verdict, failure_of, pause, verdict
from shared.bus.metrics import CONSUMED, DEAD_LETTERED, REDELIVERED
from shared.bus.rabbit.cloudevents import CLOUD_EVENTS_PREFIXES, JSON, decode_one
from shared.bus.rabbit.link import LINK_ERRORS, Linked, consumer_cancellation, setting_up, wait_until_lost
from shared.bus.rabbit.messages import Outgoing
from shared.bus.rabbit.sender import Sender
from shared.bus.rabbit.topology import DEAD, declare
from shared.ids import now, rfc3339

log = structlog.get_logger()

_DELIVERY_COUNT: Final = "x-delivery-count"


class Consumer:
    """Hands jobs to `handle`, at most `concurrency` at once, while one link lasts.

    When the link is lost, its jobs are cancelled: the broker gives them to another consumer at once.
    """

    def __init__(self, queue: WorkQueue, handle: JobHandler, *, concurrency: int, sender: Sender) -> None:
        self._queue = queue.value
        self._handle = handle
        self._concurrency = concurrency
        self._sender = sender
        self._stopping = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()

    async def session(self, made: AbstractConnection, linked: Linked) -> None:
        """Consumes until the link is lost, or until cancelled and drained."""
        async with setting_up("declaring exchanges and queues"):
            channel = await made.channel(publisher_confirms=False)
            await declare(channel)
            await channel.basic_qos(prefetch_count=self._concurrency)
        gone = consumer_cancellation(channel)

        async def on_message(message: DeliveredMessage) -> None:
            await self._accept(channel, message)

        try:
            async with setting_up(f"consuming {self._queue}"):
                consuming = await channel.basic_consume(self._queue, on_message)
            linked()
            try:
                await wait_until_lost(made, channel, gone)
            except asyncio.CancelledError:
                await self._drain(channel, consuming.consumer_tag or "")
                raise
        finally:
            self._stopping.set()
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _accept(self, channel: AbstractChannel, message: DeliveredMessage) -> None:
        if self._stopping.is_set():
            await channel.basic_nack(message.delivery_tag or 0, requeue=True, wait=False)
            return
        # Not within the task that aiormq calls this from: that ends with the channel, whatever it is doing.
        task = asyncio.create_task(self._work(channel, message))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _drain(self, channel: AbstractChannel, consumer_tag: str) -> None:
        log.info("bus.draining", queue=self._queue, jobs=len(self._running))
        self._stopping.set()
        with suppress(*LINK_ERRORS):
            await channel.basic_cancel(consumer_tag)
        if self._running:
            await asyncio.wait(self._running)

    async def _work(self, channel: AbstractChannel, message: DeliveredMessage) -> None:
        attempt = _attempt_of(message)
        failure = await failure_of(self._call_handler(message, attempt))
        if failure is not None:
            log.warning("bus.job_failed", queue=self._queue, attempt=attempt, reason=repr(failure))
        try:
            await self._settle(channel, message, verdict(failure, attempt=attempt))
        except LINK_ERRORS as error:
            log.info("bus.unsettled", queue=self._queue, reason=repr(error))

    async def _call_handler(self, message: DeliveredMessage, attempt: int) -> None:
        CONSUMED.labels(self._queue).inc()
        if attempt > 1:
            REDELIVERED.labels(self._queue).inc()
        await self._handle(_job_of(message, attempt))

    async def _settle(self, channel: AbstractChannel, message: DeliveredMessage, decision: Verdict) -> None:
        tag = message.delivery_tag or 0
        match decision:
            case Done():
                await channel.basic_ack(tag)
            case Retry(seconds):
                await pause(seconds, unless=self._stopping)
                await channel.basic_nack(tag, requeue=True)
            case GiveUp(reason):
                try:
                    await self._dead_letter(message, reason)
                except BusUnavailableError as error:
                    log.warning("bus.not_buried", queue=self._queue, reason=str(error))
                    await channel.basic_nack(tag, requeue=True)
                else:
                    await channel.basic_ack(tag)
            case _:
                assert_never(decision)

    async def _dead_letter(self, message: DeliveredMessage, reason: str) -> None:
        """Makes it a dead letter: the message as it came; `reason`, `queue` and `buried` (when) beside it."""
        log.error("bus.dead_letter", queue=self._queue, type=message.routing_key, reason=reason)
        DEAD_LETTERED.labels(self._queue).inc()
        if message.exchange == DEAD:
            return  # it is among the dead letters already, and would come back from there
        properties = message.header.properties
        headers = {
            name: value
            for name, value in (properties.headers or {}).items()
            if name.startswith(CLOUD_EVENTS_PREFIXES)
        }
        letter = Outgoing(
            exchange=DEAD,
            routing_key=message.routing_key or self._queue,
            body=message.body,
            content_type=properties.content_type or JSON,
            headers=headers | {"reason": reason, "queue": self._queue, "buried": rfc3339(now())},
            mandatory=True,
        )
        await self._sender.send([letter])


def _attempt_of(message: DeliveredMessage) -> int:
    """Returns 1 for the first delivery; the broker counts from 0, and leaves that out."""
    count = (message.header.properties.headers or {}).get(_DELIVERY_COUNT, 0)
    return 1 + count if isinstance(count, int) else 1


def _job_of(message: DeliveredMessage, attempt: int) -> Job:
    properties = message.header.properties
    event = decode_one(properties.content_type, properties.headers, message.body)
    return Job(event, attempt=attempt, last=attempt >= ATTEMPTS, dead=message.exchange == DEAD)
