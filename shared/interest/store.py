"""The keys and times that readers and holders of interest agree on."""

from typing import Any, Final

from redis.exceptions import RedisError

GATEWAYS: Final = "roomcast:gateways"
EPOCH: Final = "roomcast:interest:epoch"

HEARTBEAT_SECONDS: Final = 0.5
STALE_SECONDS: Final = 2.5
FORGOTTEN_SECONDS: Final = 60.0
LEASE_SECONDS: Final = 15 * 60
REFRESH_SECONDS: Final = 5 * 60

REDIS_ERRORS: Final = (RedisError, OSError, TimeoutError)
"""What a Redis that is away, or unwell, shows as."""


def room_key(room: str) -> str:
    """The key of the set of instances that hold `room`."""
    return f"roomcast:interest:{room}"


def seconds(time: Any) -> float:
    """The answer of TIME, (seconds, microseconds), as seconds since 1970."""
    whole, micros = time
    return int(whole) + int(micros) / 1e6


def text(value: bytes | str) -> str:
    """A name from Redis, whether or not the client decodes answers."""
    return value.decode() if isinstance(value, bytes) else value
