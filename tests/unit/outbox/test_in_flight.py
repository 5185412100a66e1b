"""Batches on their way to the bus, and the events that follow them."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count

import pytest

from chat_api.outbox.in_flight import FEW, LANES, Batch, InFlight
from chat_api.outbox.record import Recorded
from shared.bus import BusUnavailableError
from shared.events import Event

POSITIONS = count(1)


def recorded(*rooms: str) -> Recorded:
    event = Event(type="chat.read", body=b"{}", subject=rooms[0], name="read", rooms=rooms)
    return Recorded(next(POSITIONS), datetime(2026, 11, 21, tzinfo=UTC), event)


class Bus:
    """Confirms a batch when it is told to."""

    def __init__(self) -> None:
        self.came: list[list[Event]] = []
        self.confirms: list[asyncio.Future[None]] = []

    async def publish(self, events: Sequence[Event]) -> None:
        self.came.append(list(events))
        self.confirms.append(asyncio.get_running_loop().create_future())
        await self.confirms[-1]

    def rooms(self) -> list[list[str]]:
        return [[event.rooms[0] for event in batch] for batch in self.came]


class Flight:
    """Events in flight to a bus, with the batches that were done."""

    def __init__(self) -> None:
        self.bus = Bus()
        self.done: asyncio.Queue[Batch] = asyncio.Queue()
        self.events = InFlight(self.bus, on_done=self.done.put_nowait)

    async def send(self, *rooms: str) -> list[Recorded]:
        sent = [recorded(room) for room in rooms]
        self.events.send(sent)
        await asyncio.sleep(0)
        return sent

    async def confirm(self, number: int) -> Sequence[Recorded]:
        """Confirms a batch, takes it out, and sends what waited for it."""
        self.bus.confirms[number].set_result(None)
        taken = self.events.confirmed(await self.done.get())
        self.events.send()
        await asyncio.sleep(0)
        return taken

    async def end(self) -> None:
        for batch in self.events.batches:
            batch.cancel()
        await asyncio.gather(*self.events.batches, return_exceptions=True)


async def test_another_room_does_not_wait() -> None:
    flight = Flight()
    await flight.send("a")
    await flight.send("b")
    assert flight.bus.rooms() == [["a"], ["b"]]
    await flight.end()


async def test_one_room_goes_one_after_the_other_whatever_is_beside_it() -> None:
    """An event that waits keeps those of its rooms waiting that came after it."""
    flight = Flight()
    first = await flight.send("a")
    second = recorded("a", "b")
    flight.events.send([second, recorded("b"), recorded("c")])
    await asyncio.sleep(0)
    assert flight.bus.rooms() == [["a"], ["c"]]
    assert flight.events.has_next
    assert await flight.confirm(0) == first
    assert flight.bus.rooms() == [["a"], ["c"], ["a", "b"]]
    assert flight.bus.came[2][0] == second.event
    assert not flight.events.has_next
    await flight.end()


async def test_more_than_a_few_wait_for_what_is_in_flight_and_go_together() -> None:
    flight = Flight()
    await flight.send("a")
    many = [f"b{number}" for number in range(FEW + 1)]
    await flight.send(*many)
    assert flight.bus.rooms() == [["a"]]
    await flight.confirm(0)
    assert flight.bus.rooms() == [["a"], many]
    await flight.end()


async def test_so_many_batches_are_in_flight_at_most() -> None:
    flight = Flight()
    for number in range(LANES + 1):
        await flight.send(str(number))
    assert len(flight.events.batches) == LANES == len(flight.bus.came)
    await flight.confirm(0)
    assert flight.bus.rooms()[-1] == [str(LANES)]
    await flight.end()


async def test_a_batch_is_taken_out_once() -> None:
    flight = Flight()
    sent = await flight.send("a")
    flight.bus.confirms[0].set_result(None)
    assert await flight.events.wait(seconds=5)
    assert [*flight.events.reap()] == [sent]
    assert flight.events.is_empty
    assert flight.events.confirmed(await flight.done.get()) == ()


async def test_waiting_ends_after_its_bound() -> None:
    flight = Flight()
    await flight.send("a")
    assert not await flight.events.wait(seconds=0.01)
    await flight.end()


async def test_what_the_bus_refuses_stays_in_flight() -> None:
    """Those confirmed before it are taken out; the caller hears of the failure."""
    flight = Flight()
    kept = await flight.send("a")
    await flight.send("b")
    flight.bus.confirms[0].set_result(None)
    flight.bus.confirms[1].set_exception(BusUnavailableError("away"))
    for _ in range(2):
        await flight.done.get()
    taken: list[Sequence[Recorded]] = []
    with pytest.raises(BusUnavailableError):
        taken.extend(flight.events.reap())
    assert taken == [kept]
    assert len(flight.events.batches) == 1
    assert not flight.events.is_empty
