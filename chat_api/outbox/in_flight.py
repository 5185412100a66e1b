"""Events in flight: batches that the bus has yet to confirm, and the events that are to follow them.

What is next does not wait for the confirm of what is in flight, unless that holds an event for the same room:
in one room, the next goes out when the one before is confirmed, so that no loss of a link can turn their
order round.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Final, Protocol

from chat_api.outbox.record import Recorded
from shared.events import Event

LANES: Final = 4
"""How many batches are in flight at once."""
FEW: Final = 4
"""More events than that wait for what is in flight, and go together: each batch has its price."""

Batch = asyncio.Task[None]
"""The publishing of a batch; done when it is confirmed, or has failed."""


class Publisher(Protocol):
    """The bus, as the relay needs it."""

    def publish(self, events: Sequence[Event]) -> Coroutine[Any, Any, None]:
        """Publishes in order; over when every one is confirmed, raises BusUnavailableError otherwise.

        What need not be asked for is on its way when this returns.
        """


class InFlight:
    """Publishes events in batches; events of one room one batch after the other, in order.

    `on_done` is called with each batch that is done, in a step of its own. A batch stays in flight until it
    is taken out with `confirmed` or `reap`.
    """

    def __init__(self, publisher: Publisher, on_done: Callable[[Batch], None]) -> None:
        self._publisher = publisher
        self._on_done = on_done
        self._next: list[Recorded] = []
        self._batches: dict[Batch, Sequence[Recorded]] = {}

    @property
    def is_empty(self) -> bool:
        """True when nothing is in flight, and nothing is to follow."""
        return not (self._next or self._batches)

    @property
    def has_next(self) -> bool:
        """True when events wait for a batch in flight."""
        return bool(self._next)

    @property
    def batches(self) -> list[Batch]:
        """The batches in flight."""
        return list(self._batches)

    def send(self, recorded: Sequence[Recorded] = ()) -> None:
        """Adds events to what is next, and publishes of that what need not wait."""
        self._next += recorded
        if len(self._batches) >= LANES or (self._batches and len(self._next) > FEW):
            return
        busy = {room for batch in self._batches.values() for each in batch for room in each.event.rooms}
        free: list[Recorded] = []
        rest: list[Recorded] = []
        for each in self._next:
            if busy.isdisjoint(each.event.rooms):
                free.append(each)
            else:
                rest.append(each)
                busy.update(each.event.rooms)
        if free:
            batch = asyncio.create_task(self._publisher.publish([each.event for each in free]))
            self._next = rest
            batch.add_done_callback(self._on_done)
            self._batches[batch] = free

    def confirmed(self, batch: Batch) -> Sequence[Recorded]:
        """Takes a batch out that is confirmed; returns its events, none when it was taken out before."""
        return self._batches.pop(batch, ())

    def reap(self) -> Iterator[Sequence[Recorded]]:
        """Takes out the batches that are done; yields the events of each.

        Raises:
            BusUnavailableError: one was not confirmed.
        """
        for batch in [batch for batch in self._batches if batch.done()]:
            batch.result()
            yield self.confirmed(batch)

    async def wait(self, *, seconds: float) -> bool:
        """Waits until a batch is done, but no longer than `seconds`; returns whether one is."""
        done, _ = await asyncio.wait(self._batches, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
