"""Feeds gateways the same events at the same moments, each by its own publisher.

Roomcast is fed by its own publisher, which looks up who holds the rooms and puts what one flush holds into
one AMQP message; the others know nothing of that, so each event is a message of its own.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, Protocol, cast

import aiormq
from pydantic import SecretStr

from bench.load.messages import Talk
from shared.bus import Bus, Routed
from shared.bus.rabbit.cloudevents import JSON, headers_of
from shared.events import Event
from shared.interest import InterestReader
from shared.interest.publisher import EventPublisher
from shared.process.links import rabbit_link, redis_link

EXCHANGE: Final = "bench.events"
"""Where the references' gateways bind their queues."""
MAX_FLUSH: Final = 500
"""Events that the outbox relay takes at once."""


class Feeder(Protocol):
    """A publisher of events for one gateway."""

    async def feed(self, events: Sequence[Event]) -> None:
        """Publishes events that are there at the same moment."""


class GroupFeeder:
    """Roomcast's publisher: events that are there together go in one flush."""

    def __init__(self, publisher: EventPublisher) -> None:
        self._publisher = publisher

    async def feed(self, events: Sequence[Event]) -> None:
        """Publishes; returns when all are confirmed."""
        await self._publisher.publish(events)


class SingleFeeder:
    """Roomcast's publisher without joining: one AMQP message an event."""

    def __init__(self, bus: Bus, interest: InterestReader) -> None:
        self._bus = bus
        self._interest = interest

    async def feed(self, events: Sequence[Event]) -> None:
        """Publishes; returns when all are confirmed."""
        gateways = await self._interest.gateways(events)
        routed = [Routed(*pair) for pair in zip(events, gateways, strict=True)]
        await asyncio.gather(*(self._bus.publish([one]) for one in routed))


class Plain:
    """The references' publisher: an AMQP message an event, the same headers and body, for one gateway."""

    def __init__(self, channel: aiormq.Channel, key: str) -> None:
        self._channel = channel
        self._key = key

    async def feed(self, events: Sequence[Event]) -> None:
        """Publishes; returns when all are written."""
        for event in events:
            properties = aiormq.spec.Basic.Properties(content_type=JSON, headers=headers_of(event))
            await self._channel.basic_publish(
                event.body, exchange=EXCHANGE, routing_key=self._key, properties=properties, wait=False
            )


@asynccontextmanager
async def publishers(rabbit: str, redis: str) -> AsyncIterator[tuple[GroupFeeder, SingleFeeder]]:
    """Yields Roomcast's own publisher on these servers, both ways."""
    async with rabbit_link(SecretStr(rabbit), service="bench") as bus, redis_link(SecretStr(redis)) as store:
        interest = InterestReader(store)
        yield GroupFeeder(EventPublisher(bus=bus, interest=interest)), SingleFeeder(bus, interest)


@asynccontextmanager
async def plain(rabbit: str) -> AsyncIterator[Callable[[str], Plain]]:
    """Yields publishers for the references, each by its gateway's routing key."""
    connection = await aiormq.connect(rabbit)
    try:
        channel = cast(aiormq.Channel, await connection.channel(publisher_confirms=False))
        await channel.exchange_declare(EXCHANGE, exchange_type="topic")
        yield partial(Plain, channel)
    finally:
        await connection.close()


async def feed_on_time(feeder: Feeder, talk: Talk, moments: Sequence[tuple[float, str]]) -> int:
    """Feeds a message of a chat at each moment, in seconds from now, as the outbox relay does.

    What has come while a flush was under way goes together in the next; none waits for a timer. A message
    that had to wait for a flush is as old as that makes it.

    Returns:
        How many flushes that were.
    """
    began = free = time.monotonic_ns()
    at = flushes = 0
    while at < len(moments):
        now = time.monotonic_ns()
        due: list[Event] = []
        while at < len(moments) and len(due) < MAX_FLUSH:
            moment, chat_id = moments[at]
            sent = began + int(moment * 1e9)
            if sent > now:
                break
            # The timer may be late; it is not what is measured.
            due.append(talk.next(chat_id, now if sent > free else sent))
            at += 1
        if due:
            await feeder.feed(due)
            flushes += 1
            free = time.monotonic_ns()
        else:
            await asyncio.sleep((began + int(moments[at][0] * 1e9) - now) / 1e9)
    return flushes


def spread(
    chats: Sequence[str], rate: float, seconds: float, chance: random.Random
) -> list[tuple[float, str]]:
    """Returns moments of a Poisson process, `rate` a second on average, each with one of `chats`."""
    at, moments = 0.0, []
    for _ in range(max(1, round(rate * seconds))):
        at += chance.expovariate(rate)
        moments.append((at, chance.choice(chats)))
    return moments
