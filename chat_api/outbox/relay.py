"""One leader's term of relaying: what is offered or found in the outbox is published, then marked.

`unpublished` has the statements, `in_flight` the batches that are not confirmed yet, `marking` what is
confirmed and to be marked, `gaps` whether something may still appear before what is offered.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final, TypeVar

import asyncpg

from chat_api.database.connections import DATABASE_ERRORS
from chat_api.outbox.gaps import SequenceGaps
from chat_api.outbox.in_flight import Batch, InFlight, Publisher
from chat_api.outbox.marking import Marking
from chat_api.outbox.record import Recorded
from chat_api.outbox.unpublished import Unpublished
from shared.bus import BusUnavailableError
from shared.concurrency.waiting import wait_for_event

T = TypeVar("T")

LOOK_SECONDS: Final = 1.0
"""How often the leader looks without a hint, and the others ask whether they can lead."""
FINISH_SECONDS: Final = 3.0
"""How long a leader that is told to stop goes on with what it is publishing."""


class Relay:
    """Relays over the connection that holds the leader's lock.

    Events that this process has just stored are offered to it, and published without being read again if
    nothing can appear before them. Otherwise, when there is a hint, and every `LOOK_SECONDS`, it looks into
    the outbox, which has them all.
    """

    def __init__(self, connection: asyncpg.Connection, publisher: Publisher) -> None:
        self._connection = connection
        self._outbox = Unpublished(connection)
        self._gaps = SequenceGaps(0)
        self._awake = asyncio.Event()
        self._in_flight = InFlight(publisher, on_done=self._on_done)
        self._marking = Marking(self._outbox.mark, wake=self._awake.set)
        self._offered: list[Recorded] = []
        self._hinted = True
        self._looked_at = 0.0
        self._idle = False
        self._over = False

    @property
    def accepts_offers(self) -> bool:
        """True while what is offered will be published."""
        return not (self._over or self._connection.is_closed())

    def hint(self) -> None:
        """Wakes the relay: something may be in the outbox, or is wrong with the connection."""
        self._hinted = True
        self._awake.set()

    def offer(self, recorded: Sequence[Recorded]) -> None:
        """Takes events that have been committed, in order; they go at once if nothing is in the way."""
        positions = [each.position for each in recorded]
        if self._idle and not (self._offered or self._look_is_due()) and self._gaps.is_next(positions):
            self._gaps.advance(positions)
            self._in_flight.send(recorded)
        else:
            self._offered += recorded
            self._awake.set()

    async def run(self) -> None:
        """Relays until cancelled; what it has published then, it marks.

        Raises:
            BusUnavailableError: a batch was not confirmed; it is left unmarked, those that were are not.
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: the connection is lost.
        """
        try:
            self._gaps = SequenceGaps(await self._outbox.last_position())
            while True:
                self._idle = True
                await wait_for_event(self._awake, seconds=self._due_at() - monotonic())
                self._idle = False
                self._awake.clear()
                await self._relay()
        except asyncio.CancelledError:
            await self._finish(bus_away=False)
            raise
        except BusUnavailableError:
            await self._finish(bus_away=True)
            raise
        finally:
            self._over, self._idle = True, False
            await _cancel([*self._in_flight.batches, *self._marking.tasks])

    async def _finish(self, *, bus_away: bool) -> None:
        """Marks what is published, and what is in flight once that is, within a bound."""
        self._over, self._idle = True, False
        with suppress(*DATABASE_ERRORS, BusUnavailableError):
            async with asyncio.timeout(FINISH_SECONDS):
                if not bus_away:
                    await self._drain()
                await self._marking.mark()

    async def _relay(self) -> None:
        """Publishes what is offered, or what a look finds, and marks what is confirmed."""
        self._reap()
        self._marking.reap()
        due = self._look_is_due()
        positions = [each.position for each in self._offered]
        following: Sequence[Recorded] = ()
        if not due and self._gaps.is_next(positions):
            self._gaps.advance(positions)
            following, self._offered = self._offered, []
        elif due or self._offered:
            await self._drain()
            following = await _uninterrupted(self._look())
        self._in_flight.send(following)
        await self._marking.mark_due()

    def _look_is_due(self) -> bool:
        return self._hinted or monotonic() >= self._looked_at + LOOK_SECONDS

    def _due_at(self) -> float:
        """The time, of `monotonic()`, at which to wake even if nothing happens until then."""
        return min(self._looked_at + LOOK_SECONDS, self._marking.due_at)

    def _on_done(self, batch: Batch) -> None:
        if self._over or batch.cancelled() or batch.exception() is not None:
            self._awake.set()
            return
        self._marking.add(self._in_flight.confirmed(batch))
        if not self._in_flight.has_next:
            return
        if self._idle:
            self._in_flight.send()
        else:
            self._awake.set()

    def _reap(self) -> None:
        """Has the batches that are confirmed marked before long.

        Raises:
            BusUnavailableError: one was not.
        """
        for published in self._in_flight.reap():
            self._marking.add(published)

    async def _drain(self) -> None:
        """Waits until all that is next, and in flight, is confirmed."""
        while not self._in_flight.is_empty:
            self._in_flight.send()
            if not await self._in_flight.wait(seconds=LOOK_SECONDS):
                await self._marking.wait()
                await self._outbox.keep_alive()  # however long the bus takes
            self._reap()

    async def _look(self) -> Sequence[Recorded]:
        """Returns the first unpublished events; marks on the way what is published."""
        await self._marking.wait()
        self._hinted, self._looked_at = False, monotonic()
        self._offered.clear()  # they were committed, so this statement sees them
        look = await self._outbox.look(self._marking.take_unmarked())
        self._hinted |= look.is_full
        found = {each.event.id for each in look.recorded}  # it may see what has been offered meanwhile
        self._offered = [each for each in self._offered if each.event.id not in found]
        positions = [each.position for each in look.recorded]
        if self._gaps.observe(positions, oldest_running=look.oldest_running):
            self._gaps.bound(await self._outbox.next_transaction())
        return look.recorded


async def _uninterrupted(look: Coroutine[Any, Any, T]) -> T:
    """Goes on for a bound when cancelled: what is not marked, the next leader would publish again."""
    task = asyncio.create_task(look)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=FINISH_SECONDS)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise


async def _cancel(tasks: Sequence["asyncio.Task[None]"]) -> None:
    """Cancels tasks and waits until they have ended, however they do."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
