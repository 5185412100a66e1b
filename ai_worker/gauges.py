"""Keeps the gauges of things that others change: the queue's length, the breakers' states."""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import structlog

from ai_worker.models.breaker import Breaker
from ai_worker.models.metrics import QUEUE
from shared.bus import BusUnavailableError, WorkQueue
from shared.concurrency.cancellation import raise_if_cancelled

log = structlog.get_logger()

LOOK_SECONDS: Final = 5.0


class Queues(Protocol):
    """The queues that requests wait in."""

    async def count_waiting(self, queue: WorkQueue) -> int:
        """Returns how many wait.

        Raises:
            BusUnavailableError: not known now.
        """


async def refresh_gauges(queues: Queues, breaker: Breaker | None, models: Sequence[str]) -> None:
    """Refreshes the gauges until cancelled; one that cannot be known now stays as it was."""
    while True:
        try:
            QUEUE.set(await queues.count_waiting(WorkQueue.ASSISTANT_REQUESTS))
        except BusUnavailableError as error:
            log.debug("queue.unknown", error=repr(error))
        if breaker is not None:
            for model in models:
                await breaker.state(model)
        raise_if_cancelled()
        await asyncio.sleep(LOOK_SECONDS)
