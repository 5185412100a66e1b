"""The bus between processes: RabbitMQ."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiormq.abc import AbstractConnection

from shared.bus import Bus, BusUnavailableError, JobHandler, Listener, Routed, WorkQueue
from shared.bus.metrics import FOLLOWER, GATEWAY, PUBLISHED
from shared.bus.rabbit.jobs import Consumer
from shared.bus.rabbit.link import Linked, supervised
from shared.bus.rabbit.messages import plan
from shared.bus.rabbit.sender import Sender
from shared.bus.rabbit.subscription import Subscription
from shared.bus.rabbit.topology import DEAD_LETTERS, follower_queue, gateway_queue


@asynccontextmanager
async def rabbit_bus(url: str, *, name: str) -> AsyncIterator[Bus]:
    """Opens the bus at `url` (`amqp://…`, `amqps://…`) for as long as the block runs.

    Enters at once, whether the broker is there or not. `name` is what the broker shows its connections as.
    """
    sender = Sender(url, name=f"{name} publishes")
    sending = asyncio.create_task(sender.run(), name=f"bus of {name}")
    try:
        yield RabbitBus(url, name=name, sender=sender)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


class RabbitBus:
    """Publishes over one connection; each `consume…` call has another of its own."""

    def __init__(self, url: str, *, name: str, sender: Sender) -> None:
        self._url = url
        self._name = name
        self._sender = sender
        self._consuming: set[WorkQueue] = set()

    def publish(self, batch: Sequence[Routed]) -> "_Publishing":
        """See `Bus.publish`."""
        return _Publishing(self._sender, batch)

    async def consume_gateway(self, instance: str, listener: Listener) -> None:
        """See `Bus.consume_gateway`.

        Raises:
            TopologyMismatchError: the broker has a queue of ours with other arguments.
        """
        subscription = Subscription(gateway_queue(instance), listener, kind=GATEWAY)
        await subscription.run(self._url, name=f"{self._name} relays")

    async def follow(self, name: str, listener: Listener) -> None:
        """See `Bus.follow`.

        Raises:
            TopologyMismatchError: the broker has a queue of ours with other arguments.
        """
        subscription = Subscription(follower_queue(name), listener, kind=FOLLOWER)
        await subscription.run(self._url, name=f"{self._name} follows")

    async def consume(self, queue: WorkQueue, handle: JobHandler, *, concurrency: int) -> None:
        """See `Bus.consume`.

        Raises:
            TopologyMismatchError: the broker has a queue of ours with other arguments.
        """

        async def session(made: AbstractConnection, linked: Linked) -> None:
            consumer = Consumer(queue, handle, concurrency=concurrency, sender=self._sender)

            def consuming() -> None:
                self._consuming.add(queue)
                linked()

            try:
                await consumer.session(made, consuming)
            finally:
                self._consuming.discard(queue)

        await supervised(self._url, name=f"{self._name} works on {queue}", session=session)

    def require_consuming(self, queue: WorkQueue) -> None:
        """See `Bus.require_consuming`."""
        if queue not in self._consuming:
            raise BusUnavailableError(f"the queue {queue} is not being consumed")

    async def count_waiting(self, queue: WorkQueue) -> int:
        """See `Bus.count_waiting`."""
        return await self._sender.depth(queue.value)

    async def count_dead_letters(self) -> int:
        """See `Bus.count_dead_letters`."""
        return await self._sender.depth(DEAD_LETTERS)

    async def ping(self) -> None:
        """See `Bus.ping`."""
        await self._sender.ping()


class _Publishing:
    """Events on their way; awaited, it is over when the broker has confirmed them."""

    __slots__ = ("_batch", "_messages", "_sender", "_sending")

    def __init__(self, sender: Sender, batch: Sequence[Routed]) -> None:
        self._sender = sender
        self._batch = batch
        self._messages = plan(batch)
        self._sending = sender.begin(self._messages) if self._messages else None

    def __await__(self) -> Generator[Any, None, None]:
        return self._confirmed().__await__()

    async def _confirmed(self) -> None:
        if self._sending is not None:
            await self._sending
        elif self._messages:
            await self._sender.send(self._messages)
        for type_, count in Counter(routed.event.type for routed in self._batch).items():
            PUBLISHED.labels(type_).inc(count)
