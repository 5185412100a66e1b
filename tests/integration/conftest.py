"""Servers apart from those of the end-to-end tests; a migrated database, and rows to stand on."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from support.database import Database, migrated
from support.servers import PostgresServer, RabbitServer, RedisServer, running

from chat_api.chats.group_commit import Poster
from chat_api.database.connections import connect

# The services of the end-to-end tests may still run: on the same servers they would take jobs,
# and connections to the database would not be those of the tests here alone.


@pytest.fixture(scope="session")
async def postgres() -> AsyncIterator[PostgresServer]:
    async with running(PostgresServer()) as server:
        yield server


@pytest.fixture(scope="session")
async def rabbitmq() -> AsyncIterator[RabbitServer]:
    async with running(RabbitServer()) as server:
        yield server


@pytest.fixture(scope="session")
async def redis_server() -> AsyncIterator[RedisServer]:
    async with running(RedisServer()) as server:
        yield server


@pytest.fixture(scope="session")
async def database(postgres: PostgresServer) -> AsyncIterator[Database]:
    """One for all tests; each stands on rows of its own."""
    async with migrated(postgres) as database:
        yield database


@pytest.fixture
async def fresh(postgres: PostgresServer) -> AsyncIterator[Database]:
    """One for this test, with nothing in it."""
    async with migrated(postgres) as database:
        yield database


@pytest.fixture
async def poster(database: Database) -> AsyncIterator[Poster]:
    """Posts in groups, into the database of all tests."""
    poster = Poster(lambda: connect(database.url))
    running = asyncio.create_task(poster.run())
    yield poster
    running.cancel()
    await asyncio.wait([running])
