"""One leader's term of relaying: what is offered or found in the outbox is published, then marked.

What is offered does not wait for the confirm of what is on its way, unless that holds an event for the same
room: in one room, the next goes out when the one before is confirmed, so that no loss of a link can turn
their order round.
"""

import asyncio
from collections import Counter as Tally
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final, Protocol, TypeVar

import asyncpg
from prometheus_client import Counter

from chat_api.database.connections import DATABASE_ERRORS
from chat_api.outbox.gaps import SequenceGaps
from chat_api.outbox.record import Recorded, recorded_of
from shared.bus import BusUnavailableError
from shared.concurrency.waiting import wait_for_event
from shared.events import Event

T = TypeVar("T")

BATCH: Final = 500
LOOK_SECONDS: Final = 1.0
"""How often the leader looks without a hint, and the others ask whether they can lead."""
FINISH_SECONDS: Final = 3.0
"""How long a leader that is told to stop goes on with what it is publishing."""
MOST_UNMARKED: Final = 4 * BATCH
MARK_SECONDS: Final = 0.03
"""How long what is published may wait for others, to be marked together: a mark costs PostgreSQL as much as
a third of a post. What a leader that dies has not marked is published again."""
LANES: Final = 4
"""How many batches are on their way at once."""
FEW: Final = 4
"""More events than that wait for what is on its way, and go together: each batch has its price."""

RELAYED = Counter("roomcast_api_outbox_relayed_total", "Events published and marked so", ["type"])

_LAST_POSITION: Final = "SELECT last_value FROM events_position"
_MARK: Final = "UPDATE events SET published_at = now() WHERE id = ANY ($1) AND time >= $2 AND time <= $3"
_LOOK: Final = """
    SELECT pg_snapshot_xmin(seen.by)::text::bigint AS oldest_running,
           pg_snapshot_xmax(seen.by)::text::bigint AS next_transaction, found.*
    FROM (SELECT pg_current_snapshot() AS by) AS seen
    LEFT JOIN LATERAL (
        SELECT * FROM events WHERE published_at IS NULL AND {others} ORDER BY position LIMIT {batch}
    ) AS found ON true
    ORDER BY found.position
"""
_FIRST_LOOK: Final = _LOOK.format(others="true", batch="$1")
"""The bound is a parameter: only what has one is planned anew each time, with the table as it then is."""
_MARK_AND_LOOK: Final = f"WITH marked AS ({_MARK}) " + _LOOK.format(others="id <> ALL ($1)", batch=BATCH)
"""One round trip; what it marks, it does not see as marked yet."""


class Publisher(Protocol):
    """Where the relay hands its events to."""

    def publish(self, events: Sequence[Event]) -> Coroutine[Any, Any, None]:
        """Publishes in order; over when every one is confirmed, raises BusUnavailableError otherwise.

        What need not be asked for is on its way when this returns.
        """


class Relay:
    """Relays over the connection that holds the leader's lock.

    Events that this process has just stored are offered to it, and published without being read again if
    nothing can appear before them. Otherwise, when there is a hint, and every `LOOK_SECONDS`, it looks into
    the outbox, which has them all.
    """

    def __init__(self, connection: asyncpg.Connection, publisher: Publisher) -> None:
        self._connection = connection
        self._publisher = publisher
        self._gaps = SequenceGaps(0)
        self._awake = asyncio.Event()
        self._hinted = True
        self._looked = 0.0
        self._offered: list[Recorded] = []
        self._next: list[Recorded] = []
        self._publishing: dict[asyncio.Task[None], Sequence[Recorded]] = {}
        self._unmarked: list[Recorded] = []
        self._unmarked_since = 0.0
        self._marking: asyncio.Task[None] | None = None
        self._idle = False
        self._over = False

    @property
    def lasts(self) -> bool:
        """Whether what is offered now will be published."""
        return not (self._over or self._connection.is_closed())

    def hint(self) -> None:
        """There may be something in the outbox, or something is wrong with the connection."""
        self._hinted = True
        self._awake.set()

    def offer(self, recorded: Sequence[Recorded]) -> None:
        """Takes events that have been committed, in order; they go at once if nothing is in the way."""
        positions = [each.position for each in recorded]
        if self._idle and not (self._offered or self._look_is_due()) and self._gaps.is_next(positions):
            self._gaps.take(positions)
            self._next += recorded
            self._publish_next()
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
            self._gaps = SequenceGaps(await self._connection.fetchval(_LAST_POSITION))
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
            await _ended([*self._publishing, *([self._marking] if self._marking else [])])

    async def _finish(self, *, bus_away: bool) -> None:
        """Marks what is published, and what is on its way once that is, within a bound."""
        self._over, self._idle = True, False
        with suppress(*DATABASE_ERRORS, BusUnavailableError):
            async with asyncio.timeout(FINISH_SECONDS):
                if not bus_away:
                    await self._arrived()
                await self._mark()

    async def _relay(self) -> None:
        self._reap()
        if self._marking is not None and self._marking.done():
            await self._marked()
        due = self._look_is_due()
        positions = [each.position for each in self._offered]
        if not due and self._gaps.is_next(positions):
            self._gaps.take(positions)
            self._next += self._offered
            self._offered = []
        elif due or self._offered:
            await self._arrived()
            self._next += await _finished(self._look())
        self._publish_next()
        await self._mark_beside()

    def _look_is_due(self) -> bool:
        return self._hinted or monotonic() >= self._looked + LOOK_SECONDS

    def _due_at(self) -> float:
        """When there is something to do, even if nothing happens until then; of `monotonic()`."""
        look = self._looked + LOOK_SECONDS
        return min(look, self._unmarked_since + MARK_SECONDS) if self._to_be_marked() else look

    def _publish_next(self) -> None:
        """Sends what is next on its way, as far as it need not wait."""
        if len(self._publishing) >= LANES or (self._publishing and len(self._next) > FEW):
            return
        busy = {room for batch in self._publishing.values() for each in batch for room in each.event.rooms}
        batch: list[Recorded] = []
        rest: list[Recorded] = []
        for each in self._next:
            if busy.isdisjoint(each.event.rooms):
                batch.append(each)
            else:
                rest.append(each)
                busy.update(each.event.rooms)
        if batch:
            task = asyncio.create_task(self._publisher.publish([each.event for each in batch]))
            self._next = rest
            task.add_done_callback(self._on_published)
            self._publishing[task] = batch

    def _on_published(self, task: "asyncio.Task[None]") -> None:
        if self._over or task.cancelled() or task.exception() is not None:
            self._awake.set()
            return
        self._note(task)
        if not self._next:
            return
        if self._idle:
            self._publish_next()
        else:
            self._awake.set()

    def _reap(self) -> None:
        """Takes note of the batches that are confirmed.

        Raises:
            BusUnavailableError: one was not.
        """
        for task in [task for task in self._publishing if task.done()]:
            task.result()
            self._note(task)

    def _note(self, task: "asyncio.Task[None]") -> None:
        """A batch is confirmed, and to be marked before long."""
        batch = self._publishing.pop(task, ())
        if batch and not self._unmarked:
            self._unmarked_since = monotonic()
            asyncio.get_running_loop().call_later(MARK_SECONDS, self._awake.set)
        self._unmarked += batch

    async def _arrived(self) -> None:
        """Waits until all that is next, and on its way, is confirmed."""
        while self._next or self._publishing:
            self._publish_next()
            if not await _first_of(self._publishing, seconds=LOOK_SECONDS):
                await self._marked()
                await self._connection.execute("SELECT 1")  # the leader lives, however long the bus takes
            self._reap()

    async def _mark_beside(self) -> None:
        """Has what has been published for a while marked, while the next is published."""
        if len(self._unmarked) >= MOST_UNMARKED:
            await self._mark()
        elif self._to_be_marked() and monotonic() >= self._unmarked_since + MARK_SECONDS:
            self._marking = asyncio.create_task(self._mark_all())
            self._marking.add_done_callback(lambda _: self._awake.set())

    def _to_be_marked(self) -> bool:
        """Whether a marking is to be begun."""
        return bool(self._unmarked) and self._marking is None

    async def _look(self) -> Sequence[Recorded]:
        """What stands in the outbox unpublished, the first of it; marks on the way what is published."""
        await self._marked()
        self._hinted, self._looked = False, monotonic()
        self._offered.clear()  # they were committed, so this statement sees them
        if self._unmarked:
            taken, self._unmarked = self._unmarked, []
            rows = await self._connection.fetch(_MARK_AND_LOOK, *_marks(taken))
            _count(taken)
        else:
            rows = await self._connection.fetch(_FIRST_LOOK, BATCH)
        recorded = [recorded_of(row) for row in rows if row["position"] is not None]
        self._hinted |= len(recorded) == BATCH
        found = {each.event.id for each in recorded}  # it may see what has been offered meanwhile
        self._offered = [each for each in self._offered if each.event.id not in found]
        self._gaps.looked(
            [each.position for each in recorded],
            oldest_running=rows[0]["oldest_running"],
            next_transaction=rows[0]["next_transaction"],
        )
        return recorded

    async def _mark_all(self) -> None:
        taken, self._unmarked = self._unmarked, []
        await self._connection.execute(_MARK, *_marks(taken))
        _count(taken)

    async def _marked(self) -> None:
        """Waits for the marking that is under way."""
        if self._marking is not None:
            await asyncio.shield(self._marking)
            self._marking = None

    async def _mark(self) -> None:
        """Marks all that is published."""
        await self._marked()
        if self._unmarked:
            await self._mark_all()


def _marks(recorded: Sequence[Recorded]) -> tuple[list[str], Any, Any]:
    times = [each.time for each in recorded]
    return [each.event.id for each in recorded], min(times), max(times)


def _count(recorded: Sequence[Recorded]) -> None:
    for type_, number in Tally(each.event.type for each in recorded).items():
        RELAYED.labels(type_).inc(number)


async def _first_of(tasks: Iterable["asyncio.Task[None]"], *, seconds: float) -> bool:
    """Waits until one of these is done, but no longer than that; whether one is."""
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)


async def _finished(marking: Coroutine[Any, Any, T]) -> T:
    """Goes on for a bound when cancelled: what is not marked, the next leader would publish again."""
    task = asyncio.create_task(marking)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=FINISH_SECONDS)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise


async def _ended(tasks: Sequence["asyncio.Task[None]"]) -> None:
    """Cancels tasks and waits until they have ended, however they do."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
