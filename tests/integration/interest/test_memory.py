"""Publishing by a guess: events go out before it is looked who holds their rooms, and nobody misses one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis
from support.servers import RedisServer

from shared.bus import Routed
from shared.events import MESSAGE_CREATED, REPLY_FINISHED, Event
from shared.interest import InterestLeases, InterestMemory, InterestReader, leases, memory, reader
from shared.interest.publisher import EventPublisher
from shared.store import keys as store

BOUND = 15.0


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (reader, leases):
        monkeypatch.setattr(module, "STALE_SECONDS", 0.6)
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.2)


class Ear:
    """A bus that notes what it is handed, and by whom it was confirmed."""

    def __init__(self) -> None:
        self.handed: list[list[Routed]] = []
        self.confirms = asyncio.Event()
        self.confirms.set()

    def publish(self, batch: Sequence[Routed]) -> Awaitable[None]:
        self.handed.append(list(batch))
        return self._confirmed()

    async def _confirmed(self) -> None:
        await self.confirms.wait()

    def to(self) -> list[frozenset[str] | None]:
        """The gateways of all that was handed over, which is one event each time."""
        return [routed.gateways for batch in self.handed for routed in batch]


def message(chat: str = "1", *users: str) -> Event:
    return Event(MESSAGE_CREATED, b"{}", rooms=(f"chat:{chat}",), users=users)


@asynccontextmanager
async def gateway(redis: Redis, name: str, *rooms: str) -> AsyncIterator[InterestLeases]:
    async with InterestLeases(redis, name, missed=lambda _: None) as held:
        for room in rooms:
            await held.hold(room)
        yield held


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND):
        while not met():  # noqa: ASYNC110  another's doing, told over Redis
            await asyncio.sleep(0.01)


class Publishing:
    """An event publisher with a memory, over a bus that notes."""

    def __init__(self, redis: Redis) -> None:
        self.ear = Ear()
        self.memory = InterestMemory(redis)
        self.reader = InterestReader(redis, self.memory)
        self.publisher = EventPublisher(bus=self.ear, interest=self.reader)  # type: ignore[arg-type]  # what is asked of it

    async def knows(self, event: Event, *gateways: str) -> None:
        """Returns once the event's rooms are known to be held by these."""
        async with asyncio.timeout(BOUND):
            while self.reader.guess([event]) != [frozenset(gateways)]:
                await self.reader.gateways([event])
                await asyncio.sleep(0.01)


@pytest.fixture
async def publishing(redis: Redis) -> AsyncIterator[Publishing]:
    made = Publishing(redis)
    listening = asyncio.create_task(made.memory.run())
    yield made
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_a_known_room_is_published_to_at_once(redis: Redis, publishing: Publishing) -> None:
    """Before anybody is asked; then it is looked, and there is nobody else."""
    async with gateway(redis, "a", "chat:1"):
        await publishing.knows(message(), "a")
        publishing.ear.handed.clear()
        over = publishing.publisher.publish([message()])
        assert publishing.ear.to() == [frozenset("a")]
        await over
        assert publishing.ear.to() == [frozenset("a")]


async def test_who_has_come_since_gets_it_as_well(redis: Redis, publishing: Publishing) -> None:
    """A holder that was not in the guess gets it before the publishing is over; the next goes to both."""
    async with gateway(redis, "a", "chat:1"):
        await publishing.knows(message(), "a")
        async with gateway(redis, "b", "chat:1"):
            publishing.ear.handed.clear()
            event = message()
            await publishing.publisher.publish([event])
            assert publishing.ear.handed == [
                [Routed(event, frozenset("a"))],
                [Routed(event, frozenset("b"))],
            ]
            await publishing.publisher.publish([message()])
            assert publishing.ear.to()[2:] == [frozenset("ab")]


async def test_a_member_who_is_new_is_not_missed(redis: Redis, publishing: Publishing) -> None:
    """The guess is of the rooms that the last message went to; the look is of this one's."""
    async with gateway(redis, "a", "chat:1"), gateway(redis, "b", "user:new"):
        await publishing.knows(message("1", "old"), "a")
        publishing.ear.handed.clear()
        await publishing.publisher.publish([message("1", "old", "new")])
        assert publishing.ear.to() == [frozenset("a"), frozenset("b")]


async def test_who_has_left_gets_nothing_more(redis: Redis, publishing: Publishing) -> None:
    """All other rooms stay known."""
    async with gateway(redis, "a", "chat:1", "chat:2"), gateway(redis, "b", "chat:1", "user:u") as b:
        await publishing.knows(message("1"), "a", "b")
        await publishing.knows(message("2"), "a")
        await b.drop("chat:1")
        await until(lambda: publishing.reader.guess([message("1")]) is None)
        assert publishing.reader.guess([message("2")]) == [frozenset("a")]
        await publishing.knows(message("1"), "a")


async def test_who_held_a_member_s_room_alone_gets_one_too_many_at_most(
    redis: Redis, publishing: Publishing
) -> None:
    """To know all members' rooms by heart would cost more than that."""
    async with gateway(redis, "a", "chat:1"), gateway(redis, "b", "user:u") as b:
        await publishing.knows(message("1", "u"), "a", "b")
        await b.drop("user:u")
        async with asyncio.timeout(BOUND):
            while await redis.exists("roomcast:interest:user:u"):  # noqa: ASYNC110  the gateway's doing
                await asyncio.sleep(0.01)
        publishing.ear.handed.clear()
        for _ in range(2):
            await publishing.publisher.publish([message("1", "u")])
        assert publishing.ear.to() == [frozenset("ab"), frozenset("a")]


async def test_two_kinds_of_event_of_a_room_keep_their_order(redis: Redis, publishing: Publishing) -> None:
    """A holder that came between two looks would be in the guess of the later one alone."""
    status = Event("reply.status", b"{}", rooms=("chat:1",))
    async with gateway(redis, "a", "chat:1"):
        await publishing.knows(message("1", "u"), "a")
        async with gateway(redis, "b", "chat:1"):
            await publishing.knows(status, "a", "b")
            assert publishing.reader.guess([message("1", "u")]) == [frozenset("a")]
            publishing.ear.handed.clear()
            await publishing.publisher.publish([message("1", "u"), status])
        assert publishing.ear.to() == [frozenset("ab"), frozenset("ab")]


async def test_who_stops_gets_nothing_more(redis: Redis, publishing: Publishing) -> None:
    """An orderly end of a gateway is told, too."""
    async with gateway(redis, "a", "chat:1"):
        async with gateway(redis, "b", "chat:1"):
            await publishing.knows(message(), "a", "b")
        await until(lambda: publishing.reader.guess([message()]) is None)
        await publishing.knows(message(), "a")


async def test_nothing_is_guessed_where_something_is_not_known(redis: Redis, publishing: Publishing) -> None:
    """A room that was not looked for, an event for all; one without rooms goes to nobody."""
    nowhere = Event("thing.happened", b"{}")
    async with gateway(redis, "a", "chat:1"):
        await publishing.knows(message(), "a")
        assert publishing.reader.guess([message(), nowhere]) == [frozenset("a"), frozenset()]
        assert publishing.reader.guess([message(), message("2")]) is None
        assert publishing.reader.guess([Event("all", b"{}", everywhere=True)]) is None


async def test_work_is_handed_over_once(redis: Redis, publishing: Publishing) -> None:
    """A batch with something for a work queue is not guessed: it would be there twice."""
    work = Event(REPLY_FINISHED, b"{}", rooms=("chat:1",))
    async with gateway(redis, "a", "chat:1"):
        await publishing.knows(message(), "a")
        async with gateway(redis, "b", "chat:1"):
            publishing.ear.handed.clear()
            await publishing.publisher.publish([message(), work])
        assert publishing.ear.to() == [frozenset("ab"), frozenset("ab")]


async def test_it_is_over_when_all_is_confirmed(redis: Redis, publishing: Publishing) -> None:
    """However soon it is known that nobody else is there."""
    async with gateway(redis, "a", "chat:1"):
        await publishing.knows(message(), "a")
        publishing.ear.confirms.clear()
        task = asyncio.create_task(publishing.publisher.publish([message()]))
        assert not (await asyncio.wait([task], timeout=0.3))[0]
        publishing.ear.confirms.set()
        await task


async def test_nothing_is_known_while_nobody_says_who_leaves(redis_server: RedisServer) -> None:
    """A memory whose link to Redis is lost forgets, and learns again when it is back."""
    async with Redis.from_url(redis_server.url) as client, gateway(client, "a", "chat:1"):
        made = Publishing(client)
        await made.reader.gateways([message()])
        assert made.reader.guess([message()]) is None
        listening = asyncio.create_task(made.memory.run())
        await made.knows(message(), "a")
        await client.client_kill_filter(_type="pubsub")
        await until(lambda: made.reader.guess([message()]) is None)
        await made.knows(message(), "a")
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        assert made.reader.guess([message()]) is None


async def test_it_remembers_so_many_rooms(
    redis: Redis, publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And members; then it begins anew, and nothing is left of what it forgot."""
    monkeypatch.setattr(memory, "_MOST_NAMES", 6)
    async with gateway(redis, "a", *(f"chat:{number}" for number in range(10))):
        for number in range(10):
            await publishing.knows(message(str(number), "u", f"v{number}"), "a")
            assert len(publishing.memory._kinds) <= 2
        assert publishing.reader.guess([message("0", "u", "v0")]) is None
        assert publishing.reader.guess([message("9", "u", "v9")]) == [frozenset("a")]


async def test_nonsense_on_the_channel_harms_nobody(redis: Redis, publishing: Publishing) -> None:
    """A message that is no room is passed over, and the next is heard."""
    async with gateway(redis, "a", "chat:1", "chat:2") as a:
        await publishing.knows(message(), "a")
        await redis.publish(store.DROPPED, b"\xfe\xff\xff nonsense")
        await a.drop("chat:1")
        await until(lambda: publishing.reader.guess([message()]) is None)
