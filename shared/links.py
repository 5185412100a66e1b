"""The links of a service to the servers beside it: the bus on RabbitMQ, the store on Redis."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from shared.bus import Bus

_CONNECT_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 5.0
_ATTEMPTS: Final = 2


@asynccontextmanager
async def rabbit_link(url: SecretStr, *, service: str) -> AsyncIterator[Bus]:
    """The bus on the RabbitMQ at `url`; it connects, and connects again, by itself while the block runs."""
    from shared.bus.rabbit import rabbit_bus  # noqa: PLC0415  # slow to import, and `up` may do without

    async with rabbit_bus(url.get_secret_value(), name=service) as bus:
        yield bus


@asynccontextmanager
async def redis_link(url: SecretStr) -> AsyncIterator[Redis]:
    """A client of the Redis at `url` (answers are bytes); it connects when it is used, and again when needed.

    A call on a Redis that is away fails within a few seconds, with a subclass of `redis.RedisError`.
    """
    client = Redis.from_url(
        url.get_secret_value(),
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=_ANSWER_SECONDS,
        retry=Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.05), _ATTEMPTS),
    )
    async with client:
        yield client
