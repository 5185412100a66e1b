"""The publishing side of the link to the broker: one channel with publisher confirms."""

import asyncio
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import asynccontextmanager, suppress
from time import perf_counter
from typing import Any, Final

import structlog
from aiormq.abc import AbstractChannel, AbstractConnection

from shared.bus import BusUnavailableError
from shared.bus.metrics import CONFIRM_SECONDS, MESSAGES, PUBLISH_FAILURES
from shared.bus.rabbit.confirms import Batch, ConfirmProtocol, Confirms
from shared.bus.rabbit.link import (
    LINK_ERRORS,
    Linked,
    LinkLostError,
    setting_up,
    supervised,
    wait_until_lost,
)
from shared.bus.rabbit.messages import Outgoing
from shared.bus.rabbit.topology import TopologyMismatchError, declare
from shared.concurrency.cancellation import is_cancelling
from shared.concurrency.waiting import wait_for_event

log = structlog.get_logger()

LINK_SECONDS: Final = 2.0
"""How long a publisher waits for a link that is away."""
CONFIRM_BOUND_SECONDS: Final = 8.0
PING_SECONDS: Final = 2.0


class Sender:
    """Publishes messages, each confirmed by the broker; `run()` keeps its link up."""

    def __init__(self, url: str, *, name: str) -> None:
        self._url = url
        self._name = name
        self._transports = Confirms()
        self._linked = asyncio.Event()
        self._connection: AbstractConnection | None = None
        self._channel: ConfirmProtocol | None = None
        self._overdue: asyncio.Future[None] | None = None
        self._mismatch = ""

    async def run(self) -> None:
        """Keeps the link up until cancelled, or until the broker's topology turns out not to be ours."""
        try:
            await supervised(self._url, name=self._name, session=self._session, transports=self._transports)
        except TopologyMismatchError as mismatch:
            log.error("bus.topology_mismatch", reason=str(mismatch))  # noqa: TRY400  the text is the message
            self._mismatch = str(mismatch)
            self._linked.set()

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Publishes `messages` in order, without waiting for one's confirm before the next goes out.

        Raises:
            BusUnavailableError: not all were confirmed within the bound, or a mandatory one reached no queue.
        """
        sending = self.begin(messages) or self._begin(await self._ready(LINK_SECONDS), messages)
        await sending

    def begin(self, messages: Sequence[Outgoing]) -> "Sending | None":
        """Sends `messages` off: they are on their way when it returns; None while there is no link."""
        return None if self._channel is None else self._begin(self._channel, messages)

    async def ping(self) -> None:
        """Returns when the broker answers.

        Raises:
            BusUnavailableError: it does not, within the bound.
        """
        try:
            async with asyncio.timeout(PING_SECONDS):
                await self._ready(PING_SECONDS)
                async with self._extra_channel():
                    return
        except TimeoutError:
            raise BusUnavailableError(f"no answer within {PING_SECONDS} s") from None

    async def depth(self, queue: str) -> int:
        """Returns the number of messages that wait in a queue.

        Raises:
            BusUnavailableError: the broker does not say so within the bound.
        """
        try:
            async with asyncio.timeout(PING_SECONDS):
                await self._ready(PING_SECONDS)
                async with self._extra_channel() as extra:
                    found = await extra.queue_declare(queue, passive=True)
                    return found.message_count or 0
        except TimeoutError:
            raise BusUnavailableError(f"no answer within {PING_SECONDS} s") from None

    def _begin(self, channel: ConfirmProtocol, messages: Sequence[Outgoing]) -> "Sending":
        batch = channel.publish(messages)
        timer = asyncio.get_running_loop().call_later(CONFIRM_BOUND_SECONDS, self._give_up, batch)
        return Sending(self, batch, timer)

    def _give_up(self, batch: Batch) -> None:
        """Makes the link anew: all that this one still holds would pile up with every new try."""
        if not batch.missing or batch.lost:
            return
        batch.lose(f"no answer within {CONFIRM_BOUND_SECONDS} s")
        if self._overdue is not None and not self._overdue.done():
            self._overdue.set_exception(LinkLostError("the broker did not confirm in time"))

    async def _session(self, made: AbstractConnection, linked: Linked) -> None:
        async with setting_up("declaring exchanges and queues"):
            channel = await made.channel()
            await declare(channel)
        self._overdue = asyncio.get_running_loop().create_future()
        self._connection, self._channel = made, self._transports.latest
        self._channel.open(channel.number, frame_max=made.connection_tune.frame_max)
        self._linked.set()
        linked()
        reason = "the link to RabbitMQ was lost"
        try:
            await wait_until_lost(made, channel, self._overdue)
        except LinkLostError as loss:
            reason = str(loss)
            raise
        finally:
            self._linked.clear()
            self._channel.lose(reason)
            self._connection = self._channel = None

    async def _ready(self, bound: float) -> ConfirmProtocol:
        if not await wait_for_event(self._linked, seconds=bound):
            raise BusUnavailableError("no link to RabbitMQ")
        if self._mismatch:
            raise TopologyMismatchError(self._mismatch)
        if self._channel is None:
            raise BusUnavailableError("the link to RabbitMQ was lost")
        return self._channel

    @asynccontextmanager
    async def _extra_channel(self) -> AsyncIterator[AbstractChannel]:
        """Opens a channel whose errors do not touch the one with the confirms."""
        if self._connection is None:
            raise BusUnavailableError("no link to RabbitMQ")
        try:
            channel = await self._connection.channel(publisher_confirms=False)
            try:
                yield channel
            finally:
                await channel.close()
        except LINK_ERRORS as error:
            raise BusUnavailableError(f"RabbitMQ: {error!r}") from error
        except asyncio.CancelledError:
            if is_cancelling():
                raise
            raise BusUnavailableError("the link to RabbitMQ was lost") from None

    async def declare_again(self, returned: int) -> None:
        """Declares all queues after so many messages reached none: one of ours is missing."""
        log.warning("bus.unroutable", messages=returned)
        with suppress(BusUnavailableError, TimeoutError):
            async with asyncio.timeout(PING_SECONDS), self._extra_channel() as extra:
                await declare(extra)


class Sending:
    """Messages on their way to the broker; awaited, it is over when every one is confirmed.

    Raises:
        BusUnavailableError: not all were confirmed within the bound, or a mandatory one reached no queue.
    """

    __slots__ = ("_batch", "_began", "_count", "_sender", "_timer")

    def __init__(self, sender: Sender, batch: Batch, timer: asyncio.TimerHandle) -> None:
        self._sender = sender
        self._batch = batch
        self._timer = timer
        self._count = batch.missing
        self._began = perf_counter()

    def __await__(self) -> Generator[Any, None, None]:
        """Waits for the confirms."""
        return self._confirmed().__await__()

    async def _confirmed(self) -> None:
        batch = self._batch
        await batch.settled
        self._timer.cancel()
        CONFIRM_SECONDS.observe(perf_counter() - self._began)
        MESSAGES.inc(self._count - batch.missing - batch.refused)
        if not (batch.missing or batch.refused):
            return
        PUBLISH_FAILURES.inc()
        if batch.returned:
            await self._sender.declare_again(batch.returned)
            raise BusUnavailableError("a work queue was missing; it is declared again")
        raise BusUnavailableError(f"not confirmed: {batch.lost or 'refused by the broker'}")
