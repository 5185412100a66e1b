"""A cluster of two gateways and two workers, and a user of it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest
from support.rest import Api, Person
from support.servers import PostgresServer, RabbitServer, RedisServer
from support.stack import Services

SETTINGS: Final = {"AI_CONCURRENCY": "100"}


@pytest.fixture(scope="module")
async def cluster(
    postgres: PostgresServer, rabbitmq: RabbitServer, redis_server: RedisServer
) -> AsyncIterator[Services]:
    """An API, two gateways and two workers, apart from those of other tests."""
    urls = {
        "DATABASE_URL": await postgres.new_database(),
        "RABBITMQ_URL": await rabbitmq.new_vhost(),
        "REDIS_URL": redis_server.url.removesuffix("/0") + "/3",
    }
    async with Services(**urls, **SETTINGS) as stack:
        await asyncio.gather(stack.add("gateway"), stack.add("worker"))
        yield stack


@pytest.fixture(scope="module")
async def alice(cluster: Services) -> AsyncIterator[Person]:
    async with Api(cluster.api.url) as api:
        yield await api.register("alice")
