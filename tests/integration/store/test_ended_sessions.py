"""The store's set of ended sessions, kept as the database has it."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from support.database import Database
from support.servers import RedisServer

from chat_api.accounts.revocation_set import EndedSessionsKeeper
from chat_api.database.connections import connect
from shared.ids import new_id
from shared.store.ended_sessions import EndedSessions


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_server.url) as client:
        await client.flushall()
        yield client


async def ended(database: Database, seconds_ago: int) -> str:
    session = new_id()
    await database.connection.execute(
        "INSERT INTO sessions (id, user_id, created_at, expires_at, ended_at) VALUES "
        "($1, 'u', now() - interval '1 day', now() + interval '30 days', now() - $2 * interval '1 second')",
        session,
        seconds_ago,
    )
    return session


async def test_what_redis_forgot_is_known_again(database: Database, redis: Redis) -> None:
    """Only the sessions whose tokens may still live; again after the next loss, and after a missed end."""
    store = EndedSessions(redis)
    keeper = EndedSessionsKeeper(store, lambda: connect(database.url), access_seconds=900)
    recent, old = await ended(database, 10), await ended(database, 1000)
    await keeper.once()
    loaded = await store.load()
    assert recent in loaded
    assert old not in loaded
    await redis.flushall()
    await keeper.once()
    assert recent in await store.load()
    missed = await ended(database, 1)
    await keeper.once()
    assert missed not in await store.load()
    keeper.mark_incomplete()
    await keeper.once()
    assert missed in await store.load()


async def test_another_issuers_session_is_known_as_long_as_its_token(
    database: Database, redis: Redis
) -> None:
    session = new_id()
    await database.connection.execute(
        "INSERT INTO sessions (id, user_id, created_at, expires_at, ended_at) VALUES "
        "($1, 'u', now() - interval '1 hour', now() + interval '1 hour', now() - interval '1 hour')",
        session,
    )
    store = EndedSessions(redis)
    await EndedSessionsKeeper(store, lambda: connect(database.url), access_seconds=900).once()
    assert session in await store.load()


async def test_a_store_that_is_away_is_filled_when_it_is_back(
    database: Database, redis_server: RedisServer
) -> None:
    session = await ended(database, 5)
    async with Redis.from_url(redis_server.url) as client:
        store = EndedSessions(client)
        keeper = EndedSessionsKeeper(store, lambda: connect(database.url), access_seconds=900)
        await redis_server.kill()
        await keeper.once()
        await redis_server.start()
        await keeper.once()
        assert session in await store.load()
