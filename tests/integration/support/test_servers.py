"""The test ground itself: what the other tests may rely on."""

import aio_pika
import asyncpg
import pytest
import redis.asyncio
from support.servers import MissingServerError, PostgresServer, RabbitServer, RedisServer
from support.servers.process import find_program


async def test_each_new_database_is_empty_and_its_own(postgres: PostgresServer) -> None:
    """Two tests never see each other's tables."""
    first, second = await postgres.new_database(), await postgres.new_database()
    assert first != second
    connection = await asyncpg.connect(first)
    await connection.execute("CREATE TABLE mine ()")
    await connection.close()
    connection = await asyncpg.connect(second)
    assert await connection.fetchval("SELECT to_regclass('mine')") is None
    await connection.close()


async def test_a_killed_postgresql_comes_back_with_its_data() -> None:
    """A crash loses no committed row, and the address stays."""
    server = PostgresServer()
    try:
        await server.start()
        url = await server.new_database()
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        await server.kill()
        await connection.close(timeout=1)
        await server.start()
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT number FROM kept") == 7
        await connection.close()
    finally:
        await server.remove()


async def test_a_killed_rabbitmq_comes_back_with_its_queues() -> None:
    """A crash loses no confirmed persistent message, and the address stays."""
    server = RabbitServer()
    try:
        await server.start()
        async with await aio_pika.connect(server.url) as link:
            channel = await link.channel()
            await channel.declare_queue("kept", durable=True)
            message = aio_pika.Message(b"7", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, routing_key="kept")
        await server.kill()
        await server.start()
        assert "kept" in await server.ctl("list_queues", "name")
        async with await aio_pika.connect(server.url) as link:
            channel = await link.channel()
            queue = await channel.declare_queue("kept", durable=True)
            assert (await queue.get(no_ack=True)).body == b"7"
    finally:
        await server.remove()


async def test_redis_comes_back_empty_on_the_same_port() -> None:
    """A restarted Redis has forgotten everything."""
    server = RedisServer()
    try:
        await server.start()
        async with redis.asyncio.from_url(server.url) as client:
            await client.set("gone", 1)
        await server.stop()
        await server.start()
        async with redis.asyncio.from_url(server.url) as client:
            assert await client.get("gone") is None
    finally:
        await server.remove()


def test_a_missing_server_names_its_package() -> None:
    """A missing server is an error that says what to install."""
    with pytest.raises(MissingServerError, match="apt-get install rabbitmq-server"):
        find_program("no-such-server", package="rabbitmq-server")
