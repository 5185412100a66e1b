"""Interest routing: never wrong, only slower."""

import asyncio

from integration.interest.gateways import Gateways, message
from redis.asyncio import Redis

from shared.events import TYPING, Event
from shared.interest import InterestLeases, InterestReader


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


async def test_an_orderly_end_leaves_nothing_behind(redis: Redis) -> None:
    """Neither its rooms nor itself."""
    async with InterestLeases(redis, "a", missed=lambda _: None) as a:
        await a.hold("chat:1")
        await a.hold("user:u")
    assert await redis.keys("roomcast:interest:[cu]*") == []
    assert await redis.zrange("roomcast:gateways", 0, -1) == []


async def test_events_without_rooms_need_no_redis() -> None:
    """Commands between services go on."""
    async with Redis(host="127.0.0.1", port=1) as away:
        asked = InterestReader(away)
        event = Event(TYPING, b"{}", everywhere=True)
        assert await asked.gateways([message(), event]) == [frozenset(), None]
        assert asked._store._until == 0.0
