"""Publishes together what the replies of one worker have for their rooms at about the same time.

While one flush is on its way, what comes meanwhile waits for the next: one round trip to Redis, and one
message to each gateway, however many replies are being written. Nothing waits for a timer. What has to last
goes on its own: the broker confirms it later.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from redis.asyncio.client import Pipeline

from shared.bus import Bus, BusUnavailableError, Routed
from shared.concurrency.cancellation import is_cancelling
from shared.events import Event
from shared.interest import InterestReader
from shared.interest.publisher import EventPublisher
from shared.interest.reader import Write

MAX_EVENTS: Final = 500
"""Events that one flush takes."""


@dataclass(slots=True, eq=False)
class _Item:
    """An event on its way, and what is written before it.

    Attributes:
        refusal: why `first` forbids it to be published.
        done: set when the bus has it, or failed.
    """

    event: Event
    first: Write | None
    refusal: Exception | None = None
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class _Writes:
    """The writes of a flush as one; each gets its own answers, and refuses for itself alone."""

    def __init__(self, items: Sequence[_Item]) -> None:
        self._items = items
        self._queued: list[tuple[_Item, Write, slice]] = []

    def queue(self, pipeline: Pipeline) -> None:
        """Adds their commands."""
        for item in self._items:
            if item.first is not None:
                start = len(pipeline)
                item.first.queue(pipeline)
                self._queued.append((item, item.first, slice(start, len(pipeline))))

    def take(self, answers: Sequence[Any]) -> None:
        """Gives each what it was answered."""
        for item, first, part in self._queued:
            try:
                first.take(answers[part])
            except Exception as refusal:  # noqa: BLE001  whatever it is, whoever asked has to know
                item.refusal = refusal


class GroupPublisher:
    """A publisher of events; `run()` does the work for those that do not last."""

    def __init__(self, *, bus: Bus, interest: InterestReader) -> None:
        self._bus = bus
        self._interest = interest
        self._lasting = EventPublisher(bus=bus, interest=interest)
        self._waiting: list[_Item] = []
        self._any_waiting = asyncio.Event()

    async def publish(self, event: Event, *, first: Write | None = None) -> None:
        """Publishes an event; returns when the bus has taken responsibility.

        `first` is written to Redis in the same round trip as the look at who is interested; what it raises
        is passed on, and the event is not published then.

        Raises:
            BusUnavailableError: not confirmed.
        """
        if event.ephemeral:
            item = _Item(event, first)
            self._waiting.append(item)
            self._any_waiting.set()
            await item.done
        else:
            await self._lasting.publish([event], first=first)

    async def run(self) -> None:
        """Flushes, until cancelled."""
        while not is_cancelling():
            await self._any_waiting.wait()
            items, self._waiting = self._waiting[:MAX_EVENTS], self._waiting[MAX_EVENTS:]
            if not self._waiting:
                self._any_waiting.clear()
            await self._flush([item for item in items if not item.done.done()])

    async def _flush(self, items: Sequence[_Item]) -> None:
        failure: Exception | None = None
        try:
            events = [item.event for item in items]
            gateways = await self._interest.gateways(events, first=_Writes(items))
            routed = zip(items, gateways, strict=True)
            await self._bus.publish([Routed(item.event, to) for item, to in routed if item.refusal is None])
        except asyncio.CancelledError:
            if is_cancelling():
                raise
            failure = BusUnavailableError("the link was lost")
        except Exception as error:  # noqa: BLE001  whose events these are has to know
            failure = error
        for item in items:
            if not item.done.done():
                _settle(item, item.refusal or failure)


def _settle(item: _Item, failure: Exception | None) -> None:
    if failure is None:
        item.done.set_result(None)
    else:
        item.done.set_exception(failure)
