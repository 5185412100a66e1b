"""Runs Roomcast's worker, with a steady stream of tokens in place of a model.

`python -m bench.contenders.worker` runs it. A request's title says how many tokens its reply has.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

from redis.asyncio import Redis

from ai_worker.replies.cancellation import Cancellations
from ai_worker.replies.group_publish import GroupPublisher
from ai_worker.replies.worker import Worker
from ai_worker.responder import Part, TextDelta
from bench.contenders.tokens import tokens
from shared.bus import Bus, BusUnavailableError, WorkQueue
from shared.concurrency.backoff import backoff
from shared.config.settings import Settings
from shared.events import ReplyRequested
from shared.ids import new_id
from shared.interest import InterestReader
from shared.process.service import run_service
from shared.store.drafts import Drafts

CONCURRENCY = 1000


class Steady:
    """A responder whose replies have a known length."""

    async def respond(self, request: ReplyRequested) -> AsyncGenerator[Part, None]:
        """Yields the tokens."""
        async for token in tokens(int(request.title)):
            yield TextDelta(token)


async def serve(
    _settings: Settings, *, bus: Bus, redis: Redis, stop: asyncio.Event, started: Callable[[], None]
) -> None:
    """Writes replies until `stop` is set, as `ai_worker.app` does."""
    drafts = Drafts(redis)
    cancellations = Cancellations(drafts)
    publisher = GroupPublisher(bus=bus, interest=InterestReader(redis))
    worker = Worker(responder=Steady(), publisher=publisher, drafts=drafts, cancellations=cancellations)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(bus.follow(new_id(), cancellations)),
            group.create_task(cancellations.run()),
            group.create_task(publisher.run()),
            group.create_task(
                bus.consume(WorkQueue.ASSISTANT_REQUESTS, worker.handle, concurrency=CONCURRENCY)
            ),
            group.create_task(_report_ready(bus, started)),
        ]
        await stop.wait()
        for task in tasks:
            task.cancel()


async def _report_ready(bus: Bus, started: Callable[[], None]) -> None:
    for pause in backoff(first=0.01, most=0.1):
        with suppress(BusUnavailableError):
            bus.require_consuming(WorkQueue.ASSISTANT_REQUESTS)
            break
        await asyncio.sleep(pause)
    started()
    print("ready", flush=True)


if __name__ == "__main__":
    raise SystemExit(run_service("worker", Settings, serve))
