"""A real Redis, and the one within a process."""

from collections.abc import AsyncIterator

import pytest
from fakeredis import FakeAsyncRedis
from redis.asyncio import Redis
from support.servers import RedisServer


@pytest.fixture(params=["redis", "embedded"])
async def redis(request: pytest.FixtureRequest, redis_server: RedisServer) -> AsyncIterator[Redis]:
    client: Redis = Redis.from_url(redis_server.url) if request.param == "redis" else FakeAsyncRedis()
    async with client:
        await client.flushall()
        yield client
