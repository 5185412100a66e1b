"""The publishing side of the link to the broker: one channel with publisher confirms."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, cast

import aiormq
import structlog
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import PublishError

from shared.bus import BusUnavailableError
from shared.bus.link import LINK_ERRORS, Linked, LinkLostError, lost, setting_up, supervised
from shared.bus.metrics import CONFIRM_SECONDS, MESSAGES, PUBLISH_FAILURES
from shared.bus.outgoing import Outgoing
from shared.bus.topology import TopologyMismatchError, declare
from shared.cancellation import told_to_stop

log = structlog.get_logger()

LINK_SECONDS: Final = 2.0
"""How long a publisher waits for a link that is away."""
CONFIRM_BOUND_SECONDS: Final = 8.0
PING_SECONDS: Final = 2.0

_TRANSIENT: Final = 1
_PERSISTENT: Final = 2


class Sender:
    """Publishes messages, each confirmed by the broker; `run()` keeps its link up."""

    def __init__(self, url: str, *, name: str) -> None:
        self._url = url
        self._name = name
        self._linked = asyncio.Event()
        self._connection: AbstractConnection | None = None
        self._channel: aiormq.Channel | None = None
        self._overdue: asyncio.Future[None] | None = None
        self._mismatch = ""

    async def run(self) -> None:
        """Keeps the link up until cancelled, or until the broker's topology turns out not to be ours."""
        try:
            await supervised(self._url, name=self._name, session=self._session)
        except TopologyMismatchError as mismatch:
            log.error("bus.topology_mismatch", reason=str(mismatch))  # noqa: TRY400  the text is the message
            self._mismatch = str(mismatch)
            self._linked.set()

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Publishes `messages` in order, without waiting for one's confirm before the next goes out.

        Raises:
            BusUnavailableError: not all were confirmed within the bound, or a mandatory one reached no queue.
        """
        channel = await self._ready(LINK_SECONDS)
        try:
            with CONFIRM_SECONDS.time():
                async with asyncio.timeout(CONFIRM_BOUND_SECONDS):
                    outcomes = await asyncio.gather(
                        *(_published(channel, message) for message in messages), return_exceptions=True
                    )
        except TimeoutError:
            PUBLISH_FAILURES.inc()
            self._give_up_link()
            raise BusUnavailableError(f"not confirmed within {CONFIRM_BOUND_SECONDS} s") from None
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        MESSAGES.inc(len(messages) - len(failures))
        if failures:
            PUBLISH_FAILURES.inc()
            await self._explain(failures)

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
        """How many messages wait in a queue.

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

    async def _session(self, made: AbstractConnection, linked: Linked) -> None:
        async with setting_up("declaring exchanges and queues"):
            channel = cast(aiormq.Channel, await made.channel())
            await declare(channel)
        self._overdue = asyncio.get_running_loop().create_future()
        self._connection, self._channel = made, channel
        self._linked.set()
        linked()
        try:
            await lost(made, channel, self._overdue)
        finally:
            self._linked.clear()
            self._connection = self._channel = None

    def _give_up_link(self) -> None:
        """Has the link made anew: what this one still holds would pile up with every new try."""
        if self._overdue is not None and not self._overdue.done():
            self._overdue.set_exception(LinkLostError("the broker did not confirm in time"))

    async def _ready(self, bound: float) -> aiormq.Channel:
        try:
            async with asyncio.timeout(bound):
                await self._linked.wait()
        except TimeoutError:
            raise BusUnavailableError("no link to RabbitMQ") from None
        if self._mismatch:
            raise TopologyMismatchError(self._mismatch)
        if self._channel is None:
            raise BusUnavailableError("the link to RabbitMQ was lost")
        return self._channel

    @asynccontextmanager
    async def _extra_channel(self) -> AsyncIterator[AbstractChannel]:
        """A channel whose errors do not touch the one with the confirms."""
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
            if told_to_stop():
                raise
            raise BusUnavailableError("the link to RabbitMQ was lost") from None

    async def _explain(self, failures: Sequence[BaseException]) -> None:
        returned = next((failure for failure in failures if isinstance(failure, PublishError)), None)
        if returned is None:
            raise BusUnavailableError(f"not confirmed: {failures[0]!r}") from failures[0]
        log.warning("bus.unroutable", reason=repr(returned))
        with suppress(BusUnavailableError, TimeoutError):
            async with asyncio.timeout(PING_SECONDS), self._extra_channel() as extra:
                await declare(extra)
        raise BusUnavailableError("a work queue was missing; it is declared again") from returned


async def _published(channel: aiormq.Channel, message: Outgoing) -> None:
    await channel.basic_publish(
        message.body,
        exchange=message.exchange,
        routing_key=message.routing_key,
        properties=aiormq.spec.Basic.Properties(
            content_type=message.content_type,
            headers=message.headers,
            delivery_mode=_PERSISTENT if message.persistent else _TRANSIENT,
        ),
        mandatory=message.mandatory,
        wait=False,
    )
