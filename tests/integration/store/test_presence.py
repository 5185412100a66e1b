"""Presence in the store, as its readers see it."""

import asyncio

import fakeredis
from redis.asyncio import Redis
from support.servers.ports import free_port

from shared.store.presence import Presence


async def test_a_gateway_that_is_gone_counts_for_nothing() -> None:
    """Its heartbeat is too old, or missing."""
    async with fakeredis.FakeAsyncRedis() as store:
        presence = Presence(store)
        seconds, _ = await store.time()
        await store.zadd("roomcast:gateways", {"here": seconds, "gone": seconds - 30})
        await presence.write("here", [("c", "ada", True), ("c", "a|b", True)])
        await presence.write("gone", [("c", "ben", True)])
        await presence.write("unheard", [("c", "eve", True)])
        assert await presence.online("c") == ["ada", "a|b"]
        await presence.write("here", [("c", "ada", False)])
        assert await presence.online("c") == ["a|b"]


async def test_while_the_store_is_away_nobody_is_seen_and_nobody_waits() -> None:
    """Readers get an empty list, at once after the first."""
    async with Redis(host="127.0.0.1", port=free_port()) as store:
        presence = Presence(store)
        assert await presence.online("c") == []
        async with asyncio.timeout(0.1):
            assert await presence.online("c") == []
