"""Redis as a convenience: where it is away, things go on without it."""

import asyncio
from collections.abc import Awaitable
from time import monotonic
from typing import Final, TypeVar

import structlog
from redis.exceptions import RedisError

log = structlog.get_logger()

_IO_SECONDS: Final = 0.5
_SKIP_SECONDS: Final = 3.0

T = TypeVar("T")


class Sparing:
    """Asks a store that may be away; after a failure it is left alone for three seconds."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._skip_until = 0.0

    @property
    def away(self) -> bool:
        """Whether it is being left alone."""
        return monotonic() < self._skip_until

    async def ask(self, answer: Awaitable[T]) -> T | None:
        """What it answers within half a second, else None."""
        try:
            async with asyncio.timeout(_IO_SECONDS):
                return await answer
        except (RedisError, OSError, TimeoutError) as error:
            self._skip_until = monotonic() + _SKIP_SECONDS
            log.warning("store.skipped", store=self._name, reason=type(error).__name__)
            return None
