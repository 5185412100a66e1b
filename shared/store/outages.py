"""Redis as a convenience: where it is away, things go on without it for a while."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Final, TypeVar

import structlog
from redis.exceptions import RedisError

log = structlog.get_logger()

REDIS_ERRORS: Final = (RedisError, OSError, TimeoutError)
"""What a Redis that is away, or unwell, shows as."""
ANSWER_SECONDS: Final = 0.5

T = TypeVar("T")


class OptionalStore:
    """A store that can be done without; after a failure it is to be left alone for `seconds`.

    So not every caller waits for one that does not answer. A failure is logged as `event`, with `fields` and
    its `reason`.
    """

    def __init__(
        self, event: str, *, seconds: float, reason: Callable[[Exception], str] = repr, **fields: str
    ) -> None:
        self._event = event
        self._seconds = seconds
        self._reason = reason
        self._fields = fields
        self._until = 0.0

    @property
    def away(self) -> bool:
        """True while it is to be left alone."""
        return monotonic() < self._until

    async def ask(self, answer: Awaitable[T], **fields: Any) -> T | None:
        """Returns its answer, or None where there is none within half a second.

        It does not look whether the store is `away`: who asks does, before making the question.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except REDIS_ERRORS as error:
            self._until = monotonic() + self._seconds
            log.warning(self._event, **self._fields, **fields, reason=self._reason(error))
            return None


def error_name(error: Exception) -> str:
    """Returns the name of the error's type, without its text."""
    return type(error).__name__
