"""Interest while Redis is away, late, or has forgotten: never wrong, only slower."""

import asyncio
import os
import signal

import pytest
from fakeredis import FakeAsyncRedis, FakeRedis, FakeServer
from integration.interest.gateways import FAST, Gateways, Missed, message, until_held, until_told
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from support.servers import RedisServer

from shared.interest import InterestLeases, InterestReader, leases
from shared.store import keys as store


async def test_a_store_that_was_just_made_is_not_trusted(gateways: Gateways) -> None:
    """Other gateways may still be filling it in."""
    await gateways.join("a", "chat:1")
    assert await gateways.of("chat:1") is None
    await gateways.trusted()
    assert await gateways.of("chat:1") == frozenset({"a"})


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
