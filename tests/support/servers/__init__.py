"""Private instances of the real servers that the tests need: PostgreSQL, RabbitMQ, Redis.

Each runs from a temporary folder, on ports of its own, on 127.0.0.1 only, and ends with the test process,
also when that is killed. Linux only.
"""

from support.servers.postgres import PostgresServer
from support.servers.process import MissingServerError, ServerFailedError
from support.servers.rabbitmq import RabbitServer
from support.servers.redis import RedisServer
from support.servers.running import running

__all__ = [
    "MissingServerError",
    "PostgresServer",
    "RabbitServer",
    "RedisServer",
    "ServerFailedError",
    "running",
]
