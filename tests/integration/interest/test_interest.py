"""Interest routing: never wrong, only slower."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from fakeredis import FakeAsyncRedis, FakeRedis, FakeServer
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from support.servers import RedisServer

from shared.events import MESSAGE_CREATED, TYPING, Event
from shared.interest import InterestLeases, InterestReader, leases, reader
from shared.store import keys as store

Missed = list[frozenset[str] | None]


def message(*rooms: str, users: tuple[str, ...] = (), everywhere: bool = False) -> Event:
    return Event(MESSAGE_CREATED, b"{}", rooms=rooms, users=users, everywhere=everywhere)


FAST = {"HEARTBEAT_SECONDS": 0.2, "STALE_SECONDS": 0.6, "FORGOTTEN_SECONDS": 3.0}


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in FAST.items():
        for module in (reader, leases):
            monkeypatch.setattr(module, name, seconds, raising=False)


@pytest.fixture
async def gateways(redis: Redis) -> AsyncIterator["Gateways"]:
    async with AsyncExitStack() as stack:
        yield Gateways(redis, stack)


class Gateways:
    def __init__(self, redis: Redis, stack: AsyncExitStack) -> None:
        self._redis = redis
        self._stack = stack
        self.reader = InterestReader(redis)

    async def join(self, instance: str, *rooms: str, missed: Missed | None = None) -> InterestLeases:
        told: Missed = [] if missed is None else missed
        joined = await self._stack.enter_async_context(
            InterestLeases(self._redis, instance, missed=told.append)
        )
        for room in rooms:
            await joined.hold(room)
        return joined

    async def of(self, *rooms: str) -> frozenset[str] | None:
        [answer] = await self.reader.gateways([message(*rooms)])
        return answer

    async def trusted(self) -> None:
        """Returns once the store is trusted."""
        await self.until("nobody's", lambda answer: answer is not None)

    async def until(self, room: str, met: Callable[[frozenset[str] | None], bool]) -> None:
        async with asyncio.timeout(15):
            while not met(await self.of(room)):  # noqa: ASYNC110  another gateway's doing
                await asyncio.sleep(0.02)


async def test_an_event_goes_to_those_who_hold_its_rooms(gateways: Gateways) -> None:
    """And to nobody else; each held room is known as soon as `hold` returns."""
    await gateways.join("a", "chat:1", "chat:2")
    b = await gateways.join("b", "chat:2", "user:u")
    await gateways.trusted()
    assert await gateways.of("chat:1") == frozenset({"a"})
    assert await gateways.of("chat:2") == frozenset({"a", "b"})
    assert await gateways.of("chat:3") == frozenset()
    assert await gateways.of("chat:1", "user:u") == frozenset({"a", "b"})
    await b.hold("chat:3")
    assert await gateways.of("chat:3") == frozenset({"b"})


async def test_each_event_gets_its_own_answer(gateways: Gateways) -> None:
    """Rooms, users, everywhere, nowhere: in one call, in order."""
    await gateways.join("a", "chat:1")
    await gateways.join("b", "user:u")
    await gateways.trusted()
    answers = await gateways.reader.gateways(
        [
            message("chat:1"),
            message("chat:1", users=("u", "v")),
            message(everywhere=True),
            message(),
            message("chat:9"),
            message("chat:1"),
        ]
    )
    assert answers == [
        frozenset({"a"}),
        frozenset({"a", "b"}),
        None,
        frozenset(),
        frozenset(),
        frozenset({"a"}),
    ]


async def test_a_room_is_held_while_it_was_held_more_often_than_dropped(gateways: Gateways) -> None:
    """Two sockets in a room: the first to leave does not take it away."""
    a = await gateways.join("a", "chat:1", "chat:1")
    await gateways.trusted()
    await a.drop("chat:1")
    await asyncio.sleep(0.1)
    assert await gateways.of("chat:1") == frozenset({"a"})
    await a.drop("chat:1")
    await a.drop("chat:1")
    await gateways.until("chat:1", lambda answer: answer == frozenset())
    await a.hold("chat:1")
    assert await gateways.of("chat:1") == frozenset({"a"})


async def test_a_drop_never_overtakes_a_later_hold(gateways: Gateways) -> None:
    """A room that is held is registered, however much comes and goes."""
    a = await gateways.join("a")
    await gateways.trusted()

    async def churn(room: str) -> None:
        for _ in range(30):
            await a.hold(room)
            assert await gateways.of(room) == frozenset({"a"})
            await a.drop(room)
        await a.hold(room)

    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(churn(f"chat:{number % 10}"))
    for number in range(10):
        assert await gateways.of(f"chat:{number}") == frozenset({"a"})


async def test_many_rooms_are_registered_in_few_round_trips(gateways: Gateways) -> None:
    """A thousand joins at once take no thousand flushes."""
    a = await gateways.join("a")
    await gateways.trusted()
    rooms = [f"chat:{number}" for number in range(1000)]
    async with asyncio.timeout(5):
        await asyncio.gather(*map(a.hold, rooms))
    answers = await gateways.reader.gateways([message(room) for room in rooms])
    assert answers == [frozenset({"a"})] * 1000


async def test_a_store_that_was_just_made_is_not_trusted(gateways: Gateways) -> None:
    """Other gateways may still be filling it in."""
    await gateways.join("a", "chat:1")
    assert await gateways.of("chat:1") is None
    await gateways.trusted()
    assert await gateways.of("chat:1") == frozenset({"a"})


async def test_an_orderly_end_leaves_nothing_behind(redis: Redis) -> None:
    """Neither its rooms nor itself."""
    async with InterestLeases(redis, "a", missed=lambda _: None) as a:
        await a.hold("chat:1")
        await a.hold("user:u")
    assert await redis.keys("roomcast:interest:[cu]*") == []
    assert await redis.zrange("roomcast:gateways", 0, -1) == []


async def test_a_silent_gateway_gets_everything_until_it_is_forgotten(
    gateways: Gateways, redis: Redis
) -> None:
    """Its rooms cannot be known; then it is taken for gone."""
    await gateways.join("a", "chat:1")
    await gateways.trusted()
    whole, micros = await redis.time()
    now = int(whole) + int(micros) / 1e6
    await redis.zadd(store.GATEWAYS, {"silent": now - 1.0, "gone": now - 100})
    await redis.sadd(store.room_key("chat:1"), "gone", "unheard-of")
    assert await gateways.of("chat:1") == frozenset({"a", "silent"})
    assert await gateways.of("chat:2") == frozenset({"silent"})
    assert await gateways.reader.gateways([message()]) == [frozenset()]
    await gateways.until("chat:2", lambda answer: answer == frozenset())


async def test_a_store_that_forgot_everything_is_filled_in_again(gateways: Gateways, redis: Redis) -> None:
    """Until it is, every gateway gets every event; so nothing is missed, and nobody told so."""
    missed: Missed = []
    await gateways.join("a", *(f"chat:{number}" for number in range(600)), missed=missed)
    await gateways.join("b", "chat:1", missed=missed)
    await gateways.trusted()
    await redis.flushall()
    assert await gateways.of("chat:1") is None
    await gateways.trusted()
    assert await gateways.of("chat:1") == frozenset({"a", "b"})
    assert await gateways.of("chat:599") == frozenset({"a"})
    assert missed == []


async def test_a_store_that_forgets_in_the_middle_of_a_heartbeat_is_filled_in_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gateway that has just been told that it is known does not go on without its rooms."""
    server, forgot = FakeServer(), asyncio.Event()

    def forgetting(time: tuple[int, int]) -> float:
        if not forgot.is_set():
            FakeRedis(server=server).flushall()
            forgot.set()
        return store.seconds(time)

    async with (
        FakeAsyncRedis(server=server) as redis,
        InterestLeases(redis, "a", missed=lambda _: None) as a,
    ):
        await a.hold("chat:1")
        monkeypatch.setattr(leases, "seconds", forgetting)
        await asyncio.wait_for(forgot.wait(), 5)
        await until_held(InterestReader(redis), "chat:1")


async def test_a_gateway_forgotten_by_a_trusted_store_may_have_missed_something(
    gateways: Gateways, redis: Redis
) -> None:
    """It registers its rooms anew, and all its sockets are told."""
    missed: Missed = []
    await gateways.join("a", "chat:1", missed=missed)
    await gateways.join("b")
    await gateways.trusted()
    await asyncio.sleep(0.3)
    await redis.zrem(store.GATEWAYS, "a")
    await redis.delete(store.room_key("chat:1"))
    assert await gateways.of("chat:1") == frozenset()
    await gateways.until("chat:1", lambda answer: answer == frozenset({"a"}))
    await until_told(missed)
    assert missed == [None]


async def test_without_redis_events_go_everywhere_and_do_not_wait_each_time() -> None:
    """One time-out, then a pause in which Redis is not asked."""
    async with Redis(host="127.0.0.1", port=1) as away:
        asked = InterestReader(away)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(20):
            assert await asked.gateways([message("chat:1"), message()]) == [None, frozenset()]
        assert loop.time() - began < 1.0


async def test_events_without_rooms_need_no_redis() -> None:
    """Commands between services go on."""
    async with Redis(host="127.0.0.1", port=1) as away:
        asked = InterestReader(away)
        event = Event(TYPING, b"{}", everywhere=True)
        assert await asked.gateways([message(), event]) == [frozenset(), None]
        assert asked._store._until == 0.0


async def test_a_room_held_while_redis_is_away_is_registered_later_and_told(
    redis_server: RedisServer,
) -> None:
    """The join does not wait for ever, and the room is told once its events come."""
    missed: Missed = []
    async with (
        Redis.from_url(redis_server.url) as redis,
        InterestLeases(redis, "a", missed=missed.append) as a,
    ):
        await redis.flushall()
        await a.hold("chat:1")
        await redis_server.kill()
        began = asyncio.get_running_loop().time()
        await a.hold("chat:1")
        assert asyncio.get_running_loop().time() - began < 0.5
        await asyncio.gather(a.hold("chat:2"), a.hold("chat:3"))
        await a.drop("chat:3")
        assert 0.9 < asyncio.get_running_loop().time() - began < 2
        assert missed == []
        await redis_server.start()
        asked = InterestReader(redis)
        await until_held(asked, "chat:2")
        await until_told(missed)
        assert missed == [frozenset({"chat:2"})]
        assert await asked.gateways([message("chat:1"), message("chat:3")]) == [frozenset({"a"}), frozenset()]


async def test_a_redis_that_hangs_delays_but_never_confuses(redis_server: RedisServer) -> None:
    """Answers that come too late are not taken for those of the next question."""
    async with (
        Redis.from_url(redis_server.url) as redis,
        InterestLeases(redis, "a", missed=lambda _: None) as a,
    ):
        await redis.flushall()
        await a.hold("chat:1")
        asked = InterestReader(redis)
        child = redis_server._process._child
        assert child is not None
        pid = child.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            assert await asked.gateways([message("chat:1")]) == [None]
            await a.drop("chat:1")
            await asyncio.sleep(2.2)
            await a.hold("chat:1")
        finally:
            os.kill(pid, signal.SIGCONT)
        await until_held(asked, "chat:1")
        await asyncio.sleep(0.5)
        assert await asked.gateways([message("chat:1"), message("chat:2")]) == [frozenset({"a"}), frozenset()]


async def until_held(asked: InterestReader, room: str) -> None:
    async with asyncio.timeout(10):
        while await asked.gateways([message(room)]) != [frozenset({"a"})]:  # noqa: ASYNC110  a server's doing
            await asyncio.sleep(0.05)


async def until_told(missed: Missed) -> None:
    """A gateway tells of it once it has heard from Redis that the room is registered."""
    async with asyncio.timeout(5):
        while not missed:  # noqa: ASYNC110  the callback is a plain list's
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("why", ["forgotten", "emptied"])
async def test_a_heartbeat_that_takes_too_long_may_have_missed_something(
    gateways: Gateways, redis: Redis, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """It found the gateway still remembered, or the store not trusted yet; that was over when it arrived."""
    missed: Missed = []
    await gateways.join("a", "chat:1", missed=missed)
    await gateways.trusted()
    execute, asked, on_its_way = Pipeline.execute, asyncio.Event(), asyncio.Event()

    async def slow(pipeline: Pipeline, *arguments: bool) -> list[object]:
        command = pipeline.command_stack[0][0][0]
        if command == "TIME" and not asked.is_set():
            asked.set()
            now = store.seconds(await redis.time())
            if why == "forgotten":
                await redis.zadd(store.GATEWAYS, {"a": now - FAST["FORGOTTEN_SECONDS"] + 0.2})
            else:
                await redis.delete(store.GATEWAYS, store.room_key("chat:1"))
                await redis.set(store.EPOCH, now + 0.2)
        elif command == "ZADD" and asked.is_set() and not on_its_way.is_set():
            on_its_way.set()
            await asyncio.sleep(0.8)
        return await execute(pipeline, *arguments)

    monkeypatch.setattr(Pipeline, "execute", slow)
    await asyncio.wait_for(on_its_way.wait(), 5)
    await asyncio.sleep(0.4)
    assert await gateways.of("chat:1") == frozenset()  # here it misses an event
    await until_told(missed)
    assert missed == [None]
    await gateways.until("chat:1", lambda answer: answer == frozenset({"a"}))
