"""The links of a service to the servers beside it: the bus on RabbitMQ, the store on Redis."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from pydantic import SecretStr
from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as LinkLostError

from shared.bus import Bus

_CONNECT_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 5.0
_ATTEMPTS: Final = 2


@asynccontextmanager
async def rabbit_link(url: SecretStr, *, service: str) -> AsyncIterator[Bus]:
    """Opens the bus on the RabbitMQ at `url`; it connects by itself, also again, while the block runs."""
    from shared.bus.rabbit.bus import rabbit_bus  # noqa: PLC0415  # slow to import, and `up` may do without

    async with rabbit_bus(url.get_secret_value(), name=service) as bus:
        yield bus


@asynccontextmanager
async def redis_link(url: SecretStr) -> AsyncIterator[Redis]:
    """Opens a client of the Redis at `url` (answers are bytes); it connects when used, and again when needed.

    A call on a Redis that is away fails within a few seconds, with a subclass of `redis.RedisError`.
    """
    pool = ConnectionPool.from_url(
        url.get_secret_value(),
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=_ANSWER_SECONDS,
        retry=Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.05), _ATTEMPTS),
    )
    # `rediss://` chooses its own class, whatever is asked for in the call.
    pool.connection_class = _RedisTls if issubclass(pool.connection_class, SSLConnection) else _RedisTcp
    async with Redis.from_pool(pool) as client:
        yield client


class _LossReporting(Connection):
    """A connection that reports a loss noticed while writing as redis-py's other losses.

    uvloop has a RuntimeError for a connection that was reset and not yet told to be lost, which redis-py
    passes on as it is: nobody who waits for Redis to come back would take it for that.
    """

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002  # as in redis-py
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise LinkLostError(f"The connection was lost while writing: {error}") from error


class _RedisTcp(_LossReporting):
    """`redis://`."""


class _RedisTls(_LossReporting, SSLConnection):
    """`rediss://`."""
