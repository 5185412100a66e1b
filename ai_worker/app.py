"""Composes the worker: builds its objects, runs until told to stop, drains."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiohttp import web
from redis.asyncio import Redis

from ai_worker.assistant import assistant
from ai_worker.gauges import refresh_gauges
from ai_worker.replies.cancellation import Cancellations
from ai_worker.replies.group_publish import GroupPublisher
from ai_worker.replies.worker import Worker
from ai_worker.settings import WorkerSettings
from shared.bus import Bus, WorkQueue
from shared.concurrency.background import background
from shared.http.access_log import http_middleware
from shared.http.health import ops_routes
from shared.http.server import http_server
from shared.ids import new_id
from shared.interest import InterestReader
from shared.store.drafts import Drafts

DRAIN_SECONDS: Final = 15.0
"""How long a stop waits for the replies that are being written; then another worker begins them anew."""

log = structlog.get_logger()


async def serve(
    settings: WorkerSettings,
    *,
    bus: Bus,
    redis: Redis,
    stop: asyncio.Event,
    started: Callable[[], None],
) -> None:
    """Writes replies and serves health and metrics until `stop` is set.

    Calls `started` once it listens; returns when no reply is being written any more, at most `DRAIN_SECONDS`
    later. What was not finished goes back to the bus.
    """
    drafts = Drafts(redis)
    cancellations = Cancellations(drafts)
    publisher = GroupPublisher(bus=bus, interest=InterestReader(redis))
    app = web.Application(middlewares=[http_middleware("worker")])
    app.add_routes(ops_routes({"rabbitmq": _consumes_requests(bus), "redis": _ping(redis)}))
    async with (
        assistant(settings, redis) as chosen,
        http_server(app, settings.worker_host, settings.worker_port, variables="WORKER") as server,
        asyncio.TaskGroup() as group,
    ):
        worker = Worker(
            responder=chosen.responder,
            publisher=publisher,
            drafts=drafts,
            cancellations=cancellations,
            window=settings.ai_chunk_ms / 1000,
        )
        async with background(
            group,
            bus.follow(new_id(), cancellations),
            cancellations.run(),
            publisher.run(),
            refresh_gauges(bus, chosen.breaker, chosen.models),
        ):
            consumer = group.create_task(
                bus.consume(WorkQueue.ASSISTANT_REQUESTS, worker.handle, concurrency=settings.ai_concurrency)
            )
            started()
            await stop.wait()
            server.begun = True
            await _drain(consumer)


async def _drain(consumer: asyncio.Task[None]) -> None:
    consumer.cancel()
    done, _ = await asyncio.wait({consumer}, timeout=DRAIN_SECONDS)
    if not done:
        log.warning("worker.drain_cut", after_seconds=DRAIN_SECONDS)
        consumer.cancel()


def _consumes_requests(bus: Bus) -> Callable[[], Awaitable[None]]:
    async def check() -> None:
        await bus.ping()
        bus.require_consuming(WorkQueue.ASSISTANT_REQUESTS)

    return check


def _ping(redis: Redis) -> Callable[[], Awaitable[None]]:
    async def ping() -> None:
        await redis.ping()

    return ping
