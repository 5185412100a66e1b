"""Private instances of the real servers that the tests need: PostgreSQL, RabbitMQ, Redis.

Each runs from a temporary folder, on ports of its own, on 127.0.0.1 only, and ends with the test process,
also when that is killed. Linux only.
"""

from servers.postgres import PostgresServer
from servers.process import MissingServerError, ServerFailedError
from servers.rabbitmq import RabbitServer
from servers.redis import RedisServer
from servers.running import running

__all__ = [
    "MissingServerError",
    "PostgresServer",
    "RabbitServer",
    "RedisServer",
    "ServerFailedError",
    "running",
]
