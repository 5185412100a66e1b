"""Links to servers: whatever way they are lost, it is told as a loss."""

import asyncio

import uvloop
from pydantic import SecretStr
from redis.asyncio import SSLConnection
from redis.exceptions import RedisError
from support.proxy import Link
from support.servers import RedisServer

from shared.process.links import redis_link


async def _cut_again_and_again(port: int) -> list[Exception]:
    """Collects what calls on Redis end with while their link is cut."""
    failures: list[Exception] = []

    async with Link(port) as link, redis_link(SecretStr(f"redis://127.0.0.1:{link.port}/5")) as redis:

        async def write() -> None:
            while True:
                try:
                    await redis.set("key", b"x" * 20_000)
                except Exception as failure:  # noqa: BLE001  what it is, is the question
                    failures.append(failure)

        writing = [asyncio.create_task(write()) for _ in range(4)]
        for _ in range(20):
            await asyncio.sleep(0.03)
            link.cut()
            await asyncio.sleep(0.05)
            link.heal()
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
    return failures


async def test_a_link_to_redis_that_is_reset_while_writing_is_a_loss(redis_server: RedisServer) -> None:
    """On uvloop, too, which has an error of its own for it: calls end with a `RedisError`."""
    failures = await asyncio.to_thread(uvloop.run, _cut_again_and_again(redis_server.port))
    assert failures
    assert [failure for failure in failures if not isinstance(failure, RedisError)] == []


async def test_tls_stays_tls() -> None:
    """`rediss://` connects with TLS."""
    async with redis_link(SecretStr("rediss://127.0.0.1:1/0")) as redis:
        assert issubclass(redis.connection_pool.connection_class, SSLConnection)
    async with redis_link(SecretStr("redis://127.0.0.1:1/0")) as redis:
        assert not issubclass(redis.connection_pool.connection_class, SSLConnection)
