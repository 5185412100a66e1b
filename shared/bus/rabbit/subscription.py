"""The queue of a gateway, or of a follower, on the broker, consumed for ever."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final, NoReturn

import structlog
from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from aiormq.exceptions import ChannelNotFoundEntity

from shared.bus import Listener
from shared.bus.deduplication import MESSAGES, Recent
from shared.bus.metrics import CONSUMED, GAPS, REPEATED, UNDECODABLE
from shared.bus.rabbit.cloudevents import decode
from shared.bus.rabbit.deliveries import Deliveries
from shared.bus.rabbit.link import (
    CLOSE_SECONDS,
    LINK_ERRORS,
    Linked,
    consumer_cancellation,
    setting_up,
    supervised,
    wait_until_lost,
)
from shared.bus.rabbit.topology import Queue, declare, declare_queue
from shared.bus.rabbit.wire_format import content_type_and_headers
from shared.concurrency.cancellation import is_cancelling
from shared.concurrency.waiting import wait_for_event
from shared.events import Event, UndecodableEventError

log = structlog.get_logger()

PREFETCH: Final = MESSAGES
"""How many messages may be unacknowledged: not more than are known again when they come a second time."""
_ACK_MESSAGES: Final = 64
_ACK_SECONDS: Final = 0.05
_GHOST_POLLS: Final = 20
_GHOST_POLL_SECONDS: Final = 0.1


class Subscription:
    """The feed of one queue to its listener, over as many links as it takes.

    A redelivery after a loss is relayed once. `linked(gap=True)` is said when the queue had to be made anew.
    `kind` is the metrics' label for queues of this kind.
    """

    def __init__(self, queue: Queue, listener: Listener, *, kind: str) -> None:
        self._queue = queue
        self._listener = listener
        self._kind = kind
        self._consumed = CONSUMED.labels(kind)
        self._ever_linked = False
        self._gap = False
        self._recent = Recent()
        self._deliveries = Deliveries()

    async def run(self, url: str, *, name: str) -> NoReturn:
        """Consumes over links that the broker shows under `name`, for ever.

        Raises:
            TopologyMismatchError: the broker has a queue of ours with other arguments.
        """
        await supervised(url, name=name, session=self._session, transports=self._deliveries)

    async def _session(self, made: AbstractConnection, linked: Linked) -> None:
        """Consumes over one connection until it is lost."""
        said_linked = False
        try:
            channel = await self._declared(made)
            gone = consumer_cancellation(channel)
            linked()
            said_linked = True
            self._say_linked()
            async with _acks(channel) as acks:
                with self._deliveries.to(partial(self._on_message, acks), channel=channel.number):
                    async with setting_up(f"consuming {self._queue.name}"):
                        await channel.basic_consume(self._queue.name, _unexpected)
                    await wait_until_lost(made, channel, gone)
        finally:
            if is_cancelling():
                await self._delete_queue(made)
            elif said_linked:
                self._listener.unlinked()

    async def _declared(self, made: AbstractConnection) -> AbstractChannel:
        """Declares the queue; returns a channel to consume from."""
        async with setting_up(f"declaring {self._queue.name}"):
            if not await self._queue_survived(made):
                self._gap = self._ever_linked  # until it is said, over however many links
            channel = await made.channel(publisher_confirms=False)
            await declare(channel)
            await declare_queue(channel, self._queue)
            await channel.basic_qos(prefetch_count=PREFETCH)
        return channel

    async def _delete_queue(self, made: AbstractConnection) -> None:
        """Deletes the queue at an orderly end: nobody will read it again."""
        with suppress(*LINK_ERRORS):
            async with asyncio.timeout(CLOSE_SECONDS):
                # On a channel of its own: aiormq closes one if waiting for an answer on it is cancelled.
                channel = await made.channel(publisher_confirms=False)
                await channel.queue_delete(self._queue.name)

    async def _queue_survived(self, made: AbstractConnection) -> bool:
        """Returns whether the queue of an earlier link is still there, with all that came since."""
        channel = await made.channel(publisher_confirms=False)
        try:
            for _ in range(_GHOST_POLLS):
                found = await channel.queue_declare(self._queue.name, passive=True)
                if not found.consumer_count:
                    await channel.close()
                    return True
                await asyncio.sleep(_GHOST_POLL_SECONDS)
        except ChannelNotFoundEntity:
            return False
        # The broker takes our former link for alive, and hands it a share of the events.
        log.warning("bus.ghost_consumer", queue=self._queue.name)
        await channel.queue_delete(self._queue.name)
        await channel.close()
        return False

    def _say_linked(self) -> None:
        gap, self._gap, self._ever_linked = self._gap, False, True
        if gap:
            GAPS.inc()
            log.warning("bus.gap", queue=self._queue.name)
        self._listener.linked(gap=gap)

    def _on_message(self, acks: "_Acks", tag: int, header: bytes, body: bytes) -> None:
        try:
            content_type, headers = content_type_and_headers(header)
            self._relay(decode(content_type, headers, body, pass_over=self._pass_over))
        except UndecodableEventError as refusal:
            self._pass_over(refusal)
        acks.due(tag)

    def _pass_over(self, refusal: UndecodableEventError) -> None:
        UNDECODABLE.labels(self._kind).inc()
        log.warning("bus.undecodable", queue=self._queue.name, reason=str(refusal))

    def _relay(self, events: Sequence[Event]) -> None:
        self._consumed.inc(len(events))
        fresh = self._recent.fresh(events)
        if len(fresh) < len(events):
            REPEATED.inc(len(events) - len(fresh))
        if not fresh:
            return
        try:
            self._listener.relay(fresh)
        except Exception:
            log.exception("bus.relay_failed", queue=self._queue.name, count=len(fresh))


async def _unexpected(message: DeliveredMessage) -> None:
    raise AssertionError(f"aiormq was handed a delivery: {message.delivery_tag}")


class _Acks:
    """Acknowledges what was delivered, many messages with one frame."""

    def __init__(self, channel: AbstractChannel) -> None:
        self._channel = channel
        self._tag = 0
        self._acked = 0
        self._some = asyncio.Event()
        self._many = asyncio.Event()

    def due(self, tag: int) -> None:
        """Marks the message of this delivery tag as dealt with, and with it all that came before."""
        self._tag = tag
        self._some.set()
        if self._tag - self._acked >= _ACK_MESSAGES:
            self._many.set()

    async def run(self) -> None:
        """Sends acks until cancelled or the channel is closed."""
        while True:
            await self._some.wait()
            await wait_for_event(self._many, seconds=_ACK_SECONDS)
            self._some.clear()
            self._many.clear()
            self._acked = self._tag
            await self._channel.basic_ack(self._tag, multiple=True, wait=False)


@asynccontextmanager
async def _acks(channel: AbstractChannel) -> AsyncIterator[_Acks]:
    acks = _Acks(channel)
    sending = asyncio.create_task(acks.run())
    try:
        yield acks
    finally:
        sending.cancel()
        # A closed channel, which `wait_until_lost` tells of too.
        await asyncio.gather(sending, return_exceptions=True)
