"""Presence over several gateways, and with a store that comes and goes."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import fakeredis
import pytest
from pydantic import SecretStr
from support.clients import PythonClient
from support.gateways import RunningGateway, eventually, running_gateway
from support.proxy import Link
from support.servers import RedisServer

from shared.bus.local import LocalBus
from shared.process.links import redis_link
from shared.store import presence
from shared.store.keys import GATEWAYS, text
from shared.store.presence import GONE_SECONDS, Presence
from ws_gateway.presence import dead_gateways as departed


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[tuple[RunningGateway, RunningGateway]]:
    """Two gateways on one store and one bus."""
    async with fakeredis.FakeAsyncRedis() as store, AsyncExitStack() as stack:
        bus = LocalBus()
        first = await stack.enter_async_context(running_gateway(store, bus=bus))
        second = await stack.enter_async_context(running_gateway(store, bus=bus))
        second.api.chats = first.api.chats
        yield first, second


def seen(client: PythonClient, user_id: str) -> list[bool]:
    return [body["online"] for body in client.bodies("presence") if body["userId"] == user_id]


async def test_presence_is_of_users_not_of_sockets(pair: tuple[RunningGateway, RunningGateway]) -> None:
    """Online with the first joined socket at any gateway, offline after the last has left."""
    first, second = pair
    chat_id = first.api.open_chat("ada", "ben")
    watcher = await first.join("ada", chat_id)
    one = await first.join("ben", chat_id)
    body = await watcher.wait("presence", where=lambda body: body["userId"] == "ben")
    assert body == {"chatId": chat_id, "userId": "ben", "online": True}
    two = await second.connect("ben")
    assert (await two.emit("join-chat", chat_id))["online"] == ["ada", "ben"]
    await one.close()
    assert (await two.emit("join-chat", chat_id))["online"] == ["ada", "ben"]
    assert await Presence(first.redis).online(chat_id) == ["ada", "ben"]
    await two.emit("leave-chat", chat_id)
    await watcher.wait("presence", where=lambda body: not body["online"])
    assert seen(watcher, "ben") == [True, False]
    assert await Presence(first.redis).online(chat_id) == ["ada"]


async def test_who_joins_sees_itself_online(pair: tuple[RunningGateway, RunningGateway]) -> None:
    """Its acknowledgement counts it in."""
    chat_id = pair[0].api.open_chat("ada")
    client = await pair[0].connect("ada")
    assert (await client.emit("join-chat", chat_id))["online"] == ["ada"]


async def test_typing_crosses_gateways(pair: tuple[RunningGateway, RunningGateway]) -> None:
    """It reaches the room's sockets at the other gateway."""
    first, second = pair
    chat_id = first.api.open_chat("ada", "ben")
    ada, ben = await first.join("ada", chat_id), await second.join("ben", chat_id)
    await ada.emit("typing", {"chatId": chat_id, "isTyping": True})
    assert (await ben.wait("typing"))["userId"] == "ada"


async def test_a_dead_gateway_counts_for_nothing() -> None:
    """Its remains in the store are passed over."""
    async with fakeredis.FakeAsyncRedis() as store:
        await store.hset("roomcast:presence:c", "dead|ada", "1")
        assert await Presence(store).online("c") == []
        assert await Presence(store).write("alive", [("c", "ben", True)]) == [frozenset()]
        assert await Presence(store).write("alive", [("c", "a|b", True)]) == [frozenset({"ben"})]
        assert await Presence(store).write("alive", [("c", "ben", False)]) == [frozenset({"a|b"})]


async def test_without_its_store_a_gateway_goes_on(redis_server: RedisServer) -> None:
    """Sockets join and get what is published; presence is whole again once the store is back."""
    async with redis_link(SecretStr(redis_server.url)) as store, running_gateway(store) as gateway:
        chat_id = gateway.api.open_chat("ada", "ben")
        ada = await gateway.join("ada", chat_id)
        await redis_server.kill()
        try:
            ben = await gateway.connect("ben")
            answer = await ben.emit("join-chat", chat_id)
            assert answer["online"] == ["ada", "ben"]
            assert (await ada.emit("typing", {"chatId": chat_id, "isTyping": True}))["ok"]
            await ben.wait("typing")
        finally:
            await redis_server.start()
        assert (await ben.wait("resync")).keys() == {"chatId", "inMs"}
        await eventually(lambda: Presence(store).online(chat_id), is_=["ada", "ben"], seconds=15)
        await ada.wait("presence", where=lambda body: body["userId"] == "ben")
        assert seen(ada, "ben") == [True]


async def test_who_was_at_a_gateway_that_died_is_announced_offline_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By one of the gateways that see the chat; not who is elsewhere, too."""
    monkeypatch.setattr(departed, "LOOK_SECONDS", 0.2)
    async with fakeredis.FakeAsyncRedis() as store, AsyncExitStack() as stack:
        bus = LocalBus()
        first = await stack.enter_async_context(running_gateway(store, bus=bus))
        second = await stack.enter_async_context(running_gateway(store, bus=bus))
        second.api.chats = first.api.chats
        chat_id = first.api.open_chat("ada", "ben", "cat")
        watchers = [await first.join("ada", chat_id), await second.join("cat", chat_id)]
        for user_id in ("ben", "cat"):
            await store.hset(f"roomcast:presence:{chat_id}", f"dead|{user_id}", "1")
        await store.zadd(GATEWAYS, {"dead": time.time() - GONE_SECONDS - 1})
        for watcher in watchers:
            await watcher.wait("presence", where=lambda body: not body["online"])
        await eventually(lambda: _left_by_the_dead(store, chat_id), is_=0)
        await asyncio.sleep(1.0)
        for watcher in watchers:
            assert seen(watcher, "ben") == [False]
            assert False not in seen(watcher, "cat")


async def _left_by_the_dead(store: fakeredis.FakeAsyncRedis, chat_id: str) -> int:
    return sum(text(field).startswith("dead|") for field in await store.hkeys(f"roomcast:presence:{chat_id}"))


async def test_a_gateway_taken_for_dead_announces_its_users_again(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off from the store for longer than the others wait, and back."""
    monkeypatch.setattr(departed, "LOOK_SECONDS", 0.3)
    for module in (departed, presence):
        monkeypatch.setattr(module, "GONE_SECONDS", 4.0)
    async with AsyncExitStack() as stack:
        link = await stack.enter_async_context(Link(redis_server.port))
        near = await stack.enter_async_context(redis_link(SecretStr(redis_server.url)))
        far = await stack.enter_async_context(redis_link(SecretStr(f"redis://127.0.0.1:{link.port}")))
        bus = LocalBus()
        first = await stack.enter_async_context(running_gateway(near, bus=bus))
        second = await stack.enter_async_context(running_gateway(far, bus=bus))
        second.api.chats = first.api.chats
        chat_id = first.api.open_chat("ada", "ben")
        ada, ben = await first.join("ada", chat_id), await second.join("ben", chat_id)
        link.freeze()
        await ada.wait("presence", where=lambda body: not body["online"], seconds=15)
        assert ben.disconnected is None
        link.heal()
        await ada.until(lambda: seen(ada, "ben") == [True, False, True], seconds=15, what="ben online again")
