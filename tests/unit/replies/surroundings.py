"""A worker's surroundings under test: a bus and a draft that record, and responders that follow a script."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

import orjson
from fakeredis import FakeAsyncRedis

from ai_worker.demo import DemoResponder
from ai_worker.replies.cancellation import Cancellations
from ai_worker.replies.worker import Worker
from ai_worker.responder import (
    Part,
    Responder,
    TextDelta,
)
from shared.bus import BusUnavailableError, Job
from shared.events import (
    REPLY_CHUNK,
    REPLY_REQUESTED,
    REPLY_STATUS,
    Event,
    HistoryMessage,
    ReplyRequested,
)
from shared.ids import new_id
from shared.interest.reader import Write
from shared.store.draft_layout import Standing
from shared.store.drafts import Drafts


class Recorder:
    """Publisher and draft store in one, so that the order between the two shows; fails when told to."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.log: list[tuple[Any, ...]] = []
        self.refusals: dict[str, int] = {}
        self._reply_id = ""
        self.redis = FakeAsyncRedis()
        self.drafts = Drafts(self.redis)
        self.cancellations = Cancellations(self.drafts)
        self.chunk_published = asyncio.Event()
        self.on_status: Callable[[], None] | None = None
        self.on_chunk: Callable[[], Awaitable[object]] | None = None

    async def publish(self, event: Event, *, first: Write | None = None) -> None:
        if first is not None:
            await self._write(first)
        if self.refusals.get(event.type, 0) > 0:
            self.refusals[event.type] -= 1
            raise BusUnavailableError
        self.events.append(event)
        self.log.append((event.type, body_of(event)))
        if event.type == REPLY_STATUS and self.on_status is not None:
            self.on_status()
        if event.type == REPLY_CHUNK:
            self.chunk_published.set()
            if self.on_chunk is not None:
                await self.on_chunk()

    async def start(self, reply_id: str, at_least: int) -> Standing:
        self.log.append(("draft.started", reply_id, at_least))
        self._reply_id = reply_id
        return await self.drafts.start(reply_id, at_least)

    async def mend(self, reply_id: str, attempt: int, texts: Sequence[str]) -> None:
        self.log.append(("draft.mended", reply_id, attempt, list(texts)))
        await self.drafts.mend(reply_id, attempt, texts)

    async def _write(self, write: Write) -> None:
        pipeline = self.redis.pipeline(transaction=False)
        write.queue(pipeline)
        write.take(await pipeline.execute())
        self.log.append(("draft.written", await self.drafts.read(self._reply_id)))


class Broken:
    """Says a word, then breaks in a way that nobody foresaw."""

    async def respond(self, request: ReplyRequested) -> AsyncGenerator[Part, None]:
        yield TextDelta("half a ")
        raise RuntimeError("the model's library has a bug")


class Scripted:
    """Says its parts, then raises its error, if any."""

    def __init__(self, *parts: Part, error: Exception | None = None, wait: float = 0.0) -> None:
        self._parts, self._error, self._wait = parts, error, wait

    async def respond(self, request: ReplyRequested) -> AsyncGenerator[Part, None]:
        await asyncio.sleep(self._wait)
        for part in self._parts:
            yield part
        if self._error is not None:
            raise self._error


class Silent:
    """Ends without a word."""

    async def respond(self, request: ReplyRequested) -> AsyncGenerator[Part, None]:
        yield TextDelta("")


def body_of(event: Event) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(event.body)
    return body


def request_for(content: str) -> ReplyRequested:
    asked = HistoryMessage(id=new_id(), role="USER", user_id="ann", name="Ann", content=content)
    return ReplyRequested(
        reply_id=new_id(),
        chat_id=new_id(),
        reply_to=asked.id,
        title="A chat",
        context=None,
        members={"ann": "Ann"},
        history=(asked,),
    )


def job_for(request: ReplyRequested, *, attempt: int = 1, last: bool = False) -> Job:
    event = Event(REPLY_REQUESTED, request.json_bytes(), request_id="req-1", traceparent="00-1-2-01")
    return Job(event, attempt=attempt, last=last)


async def answered(recorder: Recorder, job: Job, responder: Responder | None = None) -> None:
    worker = Worker(
        responder=responder or DemoResponder(),
        publisher=recorder,
        drafts=recorder,
        cancellations=recorder.cancellations,
    )
    await worker.handle(job)
