"""A real Redis and the one within a process, gateways on it, and short times."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from fakeredis import FakeAsyncRedis
from integration.interest.gateways import FAST, Gateways
from redis.asyncio import Redis
from support.servers import RedisServer

from shared.interest import leases, reader


@pytest.fixture(params=["redis", "embedded"])
async def redis(request: pytest.FixtureRequest, redis_server: RedisServer) -> AsyncIterator[Redis]:
    client: Redis = Redis.from_url(redis_server.url) if request.param == "redis" else FakeAsyncRedis()
    async with client:
        await client.flushall()
        yield client


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in FAST.items():
        for module in (reader, leases):
            monkeypatch.setattr(module, name, seconds, raising=False)


@pytest.fixture
async def gateways(redis: Redis) -> AsyncIterator[Gateways]:
    async with AsyncExitStack() as stack:
        yield Gateways(redis, stack)
