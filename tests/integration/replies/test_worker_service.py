"""The worker as it runs: on RabbitMQ and Redis, and within one process."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from time import perf_counter
from typing import Any

import aiohttp
import orjson
import pytest
from fakeredis import FakeAsyncRedis
from redis.asyncio import Redis
from support.servers import RabbitServer, RedisServer
from support.servers.ports import free_port

from ai_worker import app, demo
from ai_worker.settings import WorkerSettings
from shared.bus import Bus, Job, JobHandler, Routed, WorkQueue
from shared.bus.local import LocalBus
from shared.bus.rabbit.bus import rabbit_bus
from shared.events import (
    REPLY_CANCEL_REQUESTED,
    REPLY_CHUNK,
    REPLY_FAILED,
    REPLY_FINISHED,
    REPLY_REQUESTED,
    REPLY_STATUS,
    Event,
    HistoryMessage,
    ReplyCancelRequested,
    ReplyRequested,
)
from shared.ids import new_id
from shared.store.drafts import Drafts

BOUND = 20.0


class Ground:
    """A bus and a Redis, a gateway that gets everything, and the API's end of the replies."""

    def __init__(self, bus: Bus, redis: Redis) -> None:
        self.bus = bus
        self.redis = redis
        self.port = free_port()
        self.stop = asyncio.Event()
        self.events: list[Event] = []
        self._changed = asyncio.Event()
        self._linked = asyncio.Event()

    def relay(self, events: Sequence[Event]) -> None:
        self.events += [event for event in events if event.subject]
        self._changed.set()

    def linked(self, *, gap: bool) -> None:
        self._linked.set()

    def unlinked(self) -> None:
        pass

    async def take(self, job: Job) -> None:
        self.events.append(job.event)
        self._changed.set()

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(BOUND):
            while not met():
                self._changed.clear()
                await self._changed.wait()

    async def ask(self, content: str) -> ReplyRequested:
        """Publishes a request for a reply."""
        asked = HistoryMessage(id=new_id(), role="USER", user_id="ann", name="Ann", content=content)
        request = ReplyRequested(
            reply_id=new_id(),
            chat_id=new_id(),
            reply_to=asked.id,
            title="A chat",
            context=None,
            members={"ann": "Ann"},
            history=(asked,),
        )
        await self.bus.publish([Routed(Event(REPLY_REQUESTED, request.json_bytes()), frozenset())])
        return request

    async def cancel(self, request: ReplyRequested) -> None:
        """Publishes that a reply is to end where it is."""
        asked = ReplyCancelRequested(reply_id=request.reply_id, chat_id=request.chat_id, user_id="ann")
        await self.bus.publish([Routed(Event(REPLY_CANCEL_REQUESTED, asked.json_bytes()), frozenset())])

    def about(self, request: ReplyRequested, *types: str) -> list[Event]:
        return [event for event in self.events if event.subject == request.reply_id and event.type in types]

    def outcomes(self, request: ReplyRequested) -> list[Event]:
        return self.about(request, REPLY_FINISHED, REPLY_FAILED)

    @asynccontextmanager
    async def worker(self, **changed: Any) -> AsyncIterator[asyncio.Task[None]]:
        """The worker, listening."""
        settings = WorkerSettings.load(worker_port=self.port, **changed)
        started = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            worker = group.create_task(
                app.serve(settings, bus=self.bus, redis=self.redis, stop=self.stop, started=started.set)
            )
            await started.wait()
            yield worker
            self.stop.set()


def body_of(event: Event) -> Any:
    return orjson.loads(event.body)


@pytest.fixture(params=["rabbitmq", "local"])
async def ground(
    request: pytest.FixtureRequest, rabbitmq: RabbitServer, redis_server: RedisServer
) -> AsyncIterator[Ground]:
    async with AsyncExitStack() as stack:
        bus: Bus
        redis: Redis
        if request.param == "local":
            bus, redis = LocalBus(), FakeAsyncRedis()
        else:
            url = await rabbitmq.new_vhost()
            bus = await stack.enter_async_context(rabbit_bus(url, name="test"))
            redis = Redis.from_url(redis_server.url + "/9")
        await stack.enter_async_context(redis)
        await redis.flushdb()
        ground = Ground(bus, redis)
        tasks = [
            asyncio.create_task(bus.consume_gateway("test", ground)),
            asyncio.create_task(bus.consume(WorkQueue.API_REPLIES, ground.take, concurrency=8)),
        ]
        async with asyncio.timeout(BOUND):
            await ground._linked.wait()
        try:
            yield ground
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def test_a_request_becomes_a_streamed_and_a_finished_reply(ground: Ground) -> None:
    """Status, chunks, finished reply, in order, over the whole bus; the draft holds the same text."""
    async with ground.worker():
        request = await ground.ask("/time what do we have for lunch?")
        await ground.until(lambda: bool(ground.outcomes(request)))
        content = body_of(ground.outcomes(request)[0])["content"]
        text = "".join(body_of(event)["content"] for event in ground.about(request, REPLY_CHUNK))
        statuses = [body_of(event)["status"] for event in ground.about(request, REPLY_STATUS)]
        draft = await Drafts(ground.redis).read(request.reply_id)
        assert ground.outcomes(request)[0].type == REPLY_FINISHED
        assert text == content
        assert "/time what do we have for lunch?" in content
        assert statuses == ["thinking", "tool_calling", "tool_completed"]
        assert draft is not None
        assert draft.content == content


async def test_a_worker_writes_as_many_replies_at_once_as_it_may(ground: Ground) -> None:
    """`AI_CONCURRENCY`: the third waits until one of the first two has ended."""
    async with ground.worker(ai_concurrency=2):
        first, second = [await ground.ask("/slow and steady") for _ in range(2)]
        await ground.until(
            lambda: bool(ground.about(first, REPLY_CHUNK) and ground.about(second, REPLY_CHUNK))
        )
        third = await ground.ask("hello")
        await ground.until(lambda: len(ground.about(first, REPLY_CHUNK)) > 3)
        assert not ground.about(third, REPLY_STATUS)
        await ground.cancel(first)
        await ground.until(lambda: bool(ground.outcomes(third)))
        assert not ground.outcomes(second)
        await ground.cancel(second)
        await ground.until(lambda: bool(ground.outcomes(second)))


async def test_a_cancel_reaches_the_worker_that_writes_the_reply(ground: Ground) -> None:
    """Over the bus; it answers with exactly the chunks that it sent."""
    async with ground.worker():
        request = await ground.ask("/slow and steady")
        await ground.until(lambda: len(ground.about(request, REPLY_CHUNK)) >= 2)
        started = perf_counter()
        await ground.cancel(request)
        await ground.until(lambda: bool(ground.outcomes(request)))
        assert perf_counter() - started < 0.5
        (outcome,) = ground.outcomes(request)
        sent = "".join(body_of(event)["content"] for event in ground.about(request, REPLY_CHUNK))
        assert (outcome.type, body_of(outcome)["content"]) == (REPLY_FINISHED, sent)


async def test_a_failure_reaches_the_api(ground: Ground) -> None:
    """With its code, once."""
    async with ground.worker():
        request = await ground.ask("/fail")
        await ground.until(lambda: bool(ground.outcomes(request)))
        assert [body_of(event)["code"] for event in ground.outcomes(request)] == ["demo_failure"]


async def test_many_replies_are_written_at_once(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow reply holds up nobody."""
    monkeypatch.setattr(app, "DRAIN_SECONDS", 0.1)
    async with ground.worker():
        started = perf_counter()
        slow = await ground.ask("/slow")
        requests = [await ground.ask(f"message {number}") for number in range(20)]
        await ground.until(lambda: all(ground.outcomes(request) for request in requests))
        assert perf_counter() - started < 6
        assert not ground.outcomes(slow)


async def test_a_stop_waits_for_the_reply_being_written(ground: Ground) -> None:
    """Draining loses nothing."""
    async with ground.worker() as worker:
        request = await ground.ask("finish this please")
        await ground.until(lambda: bool(ground.about(request, REPLY_CHUNK)))
        assert not ground.outcomes(request)
        ground.stop.set()
        await worker
        await ground.until(lambda: bool(ground.outcomes(request)))
    assert [event.type for event in ground.outcomes(request)] == [REPLY_FINISHED]


async def test_what_a_stop_cuts_is_written_by_the_next_worker(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request goes back to the bus; the next attempt begins at the first chunk."""
    monkeypatch.setattr(demo, "_SLOW_SECONDS", 3.0)
    monkeypatch.setattr(app, "DRAIN_SECONDS", 0.1)
    async with ground.worker() as worker:
        request = await ground.ask("/slow")
        await ground.until(lambda: bool(ground.about(request, REPLY_CHUNK)))
        ground.stop.set()
        async with asyncio.timeout(5):
            await worker
    assert not ground.outcomes(request)
    cut = len(ground.about(request, REPLY_CHUNK))
    ground.stop = asyncio.Event()
    async with ground.worker():
        await ground.until(lambda: bool(ground.outcomes(request)))
    again = [body_of(event)["index"] for event in ground.about(request, REPLY_CHUNK)[cut:]]
    assert again == list(range(len(again)))
    assert ground.outcomes(request)[0].type == REPLY_FINISHED


async def test_it_says_how_it_is(ground: Ground) -> None:
    """Alive, ready, and what it counts."""
    async with ground.worker(), aiohttp.ClientSession(f"http://127.0.0.1:{ground.port}") as http:
        request = await ground.ask("hello")
        await ground.until(lambda: bool(ground.outcomes(request)))
        texts = []
        for path in ("/healthz", "/readyz", "/metrics"):
            async with http.get(path) as response:
                assert response.status == 200
                texts.append(await response.text())
        assert 'roomcast_worker_replies_total{outcome="finished"}' in texts[-1]
        assert "roomcast_worker_first_chunk_seconds_bucket" in texts[-1]


class Deaf(LocalBus):
    """A bus whose broker gives this consumer no link."""

    async def consume(self, queue: WorkQueue, handle: JobHandler, *, concurrency: int) -> None:
        await asyncio.Event().wait()


async def test_a_worker_that_gets_no_requests_is_not_ready() -> None:
    """A link to publish over is not enough."""
    async with FakeAsyncRedis() as redis:
        ground = Ground(Deaf(), redis)
        async with (
            ground.worker(),
            aiohttp.ClientSession(f"http://127.0.0.1:{ground.port}") as http,
            http.get("/readyz") as response,
        ):
            assert response.status == 503
            assert (await response.json())["dependencies"]["rabbitmq"] == "BusUnavailableError"
