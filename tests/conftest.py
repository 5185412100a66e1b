"""Real servers for the tests that need them: started by the first test that asks, shared by all."""

from collections.abc import AsyncIterator

import pytest
from servers import PostgresServer, RabbitServer, RedisServer


@pytest.fixture(scope="session")
async def postgres() -> AsyncIterator[PostgresServer]:
    """A PostgreSQL; `await postgres.new_database()` gives the address of an empty database."""
    server = PostgresServer()
    try:
        await server.start()
        yield server
    finally:
        await server.remove()


@pytest.fixture(scope="session")
async def rabbitmq() -> AsyncIterator[RabbitServer]:
    """A RabbitMQ at `.url`; `await rabbitmq.ctl(...)` runs rabbitmqctl."""
    server = RabbitServer()
    try:
        await server.start()
        yield server
    finally:
        await server.remove()


@pytest.fixture(scope="session")
async def redis_server() -> AsyncIterator[RedisServer]:
    """A Redis at `.url` that keeps nothing."""
    server = RedisServer()
    try:
        await server.start()
        yield server
    finally:
        await server.remove()
