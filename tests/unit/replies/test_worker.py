"""One request becomes one reply: what is published, in which order, and what happens when things fail."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any

import orjson
import pytest
from fakeredis import FakeAsyncRedis

from ai_worker.demo import DemoResponder
from ai_worker.replies.cancellation import Cancellations
from ai_worker.replies.worker import Worker
from ai_worker.responder import (
    Facts,
    Part,
    Responder,
    ResponderError,
    Restarted,
    TextDelta,
    ToolCalling,
)
from shared.bus import BusUnavailableError, Job, PoisonedEventError
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
    ReplyFinished,
    ReplyRequested,
    UndecodableEventError,
    chat_room,
    command_of,
)
from shared.ids import new_id
from shared.interest.reader import Write
from shared.store.draft_layout import Standing
from shared.store.drafts import Draft, Drafts


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


async def test_thinking_then_chunks_then_the_finished_reply() -> None:
    """The order of the contract, bodies to the letter."""
    recorder, request = Recorder(), request_for("hello there")
    await answered(recorder, job_for(request))
    types = [event.type for event in recorder.events]
    chunks = [body_of(event) for event in recorder.events if event.type == REPLY_CHUNK]
    assert types == [REPLY_STATUS, *[REPLY_CHUNK] * len(chunks), REPLY_FINISHED]
    assert body_of(recorder.events[0]) == {
        "chatId": request.chat_id,
        "replyId": request.reply_id,
        "replyTo": request.reply_to,
        "status": "thinking",
        "data": {},
    }
    assert all(set(chunk) == {"chatId", "replyId", "index", "content", "isFinal"} for chunk in chunks)
    assert [chunk["index"] for chunk in chunks] == list(range(len(chunks)))
    assert [chunk["isFinal"] for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    finished = command_of(recorder.events[-1])
    assert isinstance(finished, ReplyFinished)
    assert finished == ReplyFinished(
        reply_id=request.reply_id,
        chat_id=request.chat_id,
        content="".join(chunk["content"] for chunk in chunks),
        metadata=finished.metadata,
    )
    assert (finished.metadata or {})["model"] == "demo"


async def test_a_restart_is_the_next_attempt_for_all_to_see() -> None:
    """`thinking` again, indexes from 0, both with `attempt`; the finished reply is the new text alone."""
    recorder = Recorder()
    parts = Scripted(TextDelta("bad "), ToolCalling("clock"), Restarted(), TextDelta("good"))
    await answered(recorder, job_for(request_for("hello")), parts)
    told = [(e.type, body_of(e).get("index"), body_of(e).get("attempt")) for e in recorder.events]
    assert told == [
        (REPLY_STATUS, None, None),
        (REPLY_CHUNK, 0, None),
        (REPLY_STATUS, None, None),
        (REPLY_STATUS, None, 2),
        (REPLY_CHUNK, 0, 2),
        (REPLY_FINISHED, None, 2),
    ]
    assert body_of(recorder.events[3])["status"] == "thinking"
    assert body_of(recorder.events[-1])["content"] == "good"
    assert body_of(recorder.events[-1])["attempt"] == 2
    assert [entry[0] for entry in recorder.log].count("draft.started") == 2


async def test_facts_become_the_metadata_of_the_reply() -> None:
    """Those of the attempt that counts."""
    recorder = Recorder()
    parts = Scripted(Facts({"model": "a"}), Restarted(), TextDelta("word"), Facts({"model": "b"}))
    await answered(recorder, job_for(request_for("hello")), parts)
    assert body_of(recorder.events[-1])["metadata"] == {"model": "b"}


async def test_a_failure_carries_what_is_known_of_it() -> None:
    """Its code, and its metadata for the SYSTEM message."""
    recorder = Recorder()
    error = ResponderError("model_overloaded", {"models": ["a", "b"]})
    await answered(recorder, job_for(request_for("hello")), Scripted(TextDelta("half"), error=error))
    failure = body_of(recorder.events[-1])
    assert (failure["code"], failure["metadata"]) == ("model_overloaded", {"models": ["a", "b"]})


async def test_a_tool_is_described_where_there_is_a_description() -> None:
    """`data.description`, or no such field."""
    recorder = Recorder()
    parts = Scripted(ToolCalling("clock"), ToolCalling("clock", "looks at the clock"), TextDelta("noon"))
    await answered(recorder, job_for(request_for("hello")), parts)
    data = [body_of(event)["data"] for event in recorder.events if event.type == REPLY_STATUS]
    assert data == [{}, {"tool": "clock"}, {"tool": "clock", "description": "looks at the clock"}]


async def test_room_events_go_to_the_chat_and_outcomes_to_no_room() -> None:
    """Sockets get status and chunks alone, each tied to the request that caused it."""
    recorder, request = Recorder(), request_for("/time")
    await answered(recorder, job_for(request))
    for event in recorder.events:
        to_room = event.type in {REPLY_STATUS, REPLY_CHUNK}
        assert event.rooms == ((chat_room(request.chat_id),) if to_room else ())
        assert event.name == {REPLY_STATUS: "ai-status", REPLY_CHUNK: "ai-chunk"}.get(event.type, "")
        assert (event.request_id, event.traceparent) == ("req-1", "00-1-2-01")


async def test_a_tool_call_is_told_before_the_first_chunk() -> None:
    """`tool_calling` and `tool_completed`, each with the tool's name."""
    recorder = Recorder()
    await answered(recorder, job_for(request_for("/time")))
    statuses = [body_of(event) for event in recorder.events if event.type == REPLY_STATUS]
    assert [(status["status"], status["data"]) for status in statuses] == [
        ("thinking", {}),
        ("tool_calling", {"tool": "clock"}),
        ("tool_completed", {"tool": "clock"}),
    ]
    assert [event.type for event in recorder.events[:4]] == [REPLY_STATUS] * 3 + [REPLY_CHUNK]


async def test_each_chunk_is_in_the_draft_before_it_is_published() -> None:
    """A client that joins between the two finds it in one of them."""
    recorder, request = Recorder(), request_for("hello")
    await answered(recorder, job_for(request))
    assert recorder.log[0] == ("draft.started", request.reply_id, 1)
    content = ""
    for draft, sent in zip(recorder.log[2:-1:2], recorder.log[3:-1:2], strict=True):
        content += sent[1]["content"]
        assert sent[0] == REPLY_CHUNK
        assert draft == ("draft.written", Draft(content, sent[1]["index"] + 1, 1))


async def test_a_refused_reply_is_reported_with_its_code() -> None:
    """`/fail`: the API hears why; no chunk, no reply, no other attempt."""
    recorder, request = Recorder(), request_for("/fail")
    await answered(recorder, job_for(request))
    assert [event.type for event in recorder.events] == [REPLY_STATUS, REPLY_FAILED]
    assert body_of(recorder.events[-1]) == {
        "type": REPLY_FAILED,
        "replyId": request.reply_id,
        "chatId": request.chat_id,
        "code": "demo_failure",
        "metadata": None,
        "content": "",
        "attempt": 1,
    }


async def test_an_empty_reply_is_a_failure() -> None:
    """A message has at least one character."""
    recorder = Recorder()
    await answered(recorder, job_for(request_for("hello")), Silent())
    assert body_of(recorder.events[-1])["code"] == "empty_reply"
    assert [event.type for event in recorder.events] == [REPLY_STATUS, REPLY_FAILED]


async def test_an_unforeseen_failure_is_left_to_the_bus() -> None:
    """Another attempt may do better: nothing is reported yet."""
    recorder = Recorder()
    with pytest.raises(RuntimeError, match="bug"):
        await answered(recorder, job_for(request_for("hello")), Broken())
    assert REPLY_FAILED not in {event.type for event in recorder.events}


async def test_the_last_attempt_reports_an_unforeseen_failure() -> None:
    """The room is not left waiting."""
    recorder = Recorder()
    await answered(recorder, job_for(request_for("hello"), attempt=5, last=True), Broken())
    assert body_of(recorder.events[-1])["code"] == "internal"


async def test_another_attempt_begins_at_the_first_chunk() -> None:
    """The draft is begun anew and indexes start at 0."""
    recorder, request = Recorder(), request_for("hello")
    with pytest.raises(RuntimeError):
        await answered(recorder, job_for(request), Broken())
    first = len(recorder.log)
    await answered(recorder, job_for(request, attempt=2))
    again = recorder.log[first:]
    assert again[0] == ("draft.started", request.reply_id, 2)
    bodies = [entry[1] for entry in again if entry[0] in {REPLY_CHUNK, REPLY_STATUS}]
    assert [body.get("index") for body in bodies[:2]] == [None, 0]
    assert {body["attempt"] for body in bodies} == {2}
    assert again[-1][1]["attempt"] == 2


async def test_the_store_knows_better_which_attempt_it_is() -> None:
    """A request that was asked for once more counts on from what was seen in the room."""
    recorder, request = Recorder(), request_for("hello")
    for _ in range(2):
        await recorder.drafts.start(request.reply_id, 1)
    await answered(recorder, job_for(request))
    assert {body_of(event)["attempt"] for event in recorder.events} == {3}


async def test_a_cancelled_reply_is_finished_with_what_was_sent() -> None:
    """By the bus: at once, also while nothing is being said; without a final chunk."""
    recorder, request = Recorder(), request_for("/slow and steady")
    writing = asyncio.create_task(answered(recorder, job_for(request)))
    await recorder.chunk_published.wait()
    asked = ReplyCancelRequested(reply_id=request.reply_id, chat_id=request.chat_id, user_id="ann")
    started = perf_counter()
    recorder.cancellations.relay([Event(REPLY_CANCEL_REQUESTED, asked.json_bytes())])
    await writing
    assert perf_counter() - started < 0.2
    chunks = [body_of(event) for event in recorder.events if event.type == REPLY_CHUNK]
    assert recorder.events[-1].type == REPLY_FINISHED
    assert body_of(recorder.events[-1])["content"] == "".join(chunk["content"] for chunk in chunks)
    assert not any(chunk["isFinal"] for chunk in chunks)


async def test_a_reply_that_is_cancelled_as_it_begins_ends_at_once() -> None:
    """Before its first word: with none."""
    recorder, request = Recorder(), request_for("/slow and steady")
    asked = ReplyCancelRequested(reply_id=request.reply_id, chat_id=request.chat_id, user_id="ann")
    cancelled = Event(REPLY_CANCEL_REQUESTED, asked.json_bytes())
    recorder.on_status = lambda: recorder.cancellations.relay([cancelled])
    await answered(recorder, job_for(request))
    assert [event.type for event in recorder.events] == [REPLY_STATUS, REPLY_FINISHED]
    assert body_of(recorder.events[-1])["content"] == ""


async def test_a_cancel_that_the_bus_lost_is_seen_with_the_next_chunk() -> None:
    """It is not sent; those before it count."""
    recorder, request = Recorder(), request_for("hello")
    texts: list[Part] = [
        TextDelta("one "),
        ToolCalling("clock"),
        TextDelta("two "),
        ToolCalling("clock"),
        TextDelta("no"),
    ]
    parts = Scripted(*texts)
    recorder.refusals = {REPLY_STATUS: 1}
    await recorder.drafts.start(request.reply_id, 1)
    recorder.on_chunk = lambda: recorder.drafts.cancel(request.reply_id)
    await answered(recorder, job_for(request), parts)
    chunks = [body_of(event)["content"] for event in recorder.events if event.type == REPLY_CHUNK]
    assert chunks == ["one "]
    assert (await recorder.drafts.cancel(request.reply_id)).texts == ("one ",)
    assert body_of(recorder.events[-1])["content"] == "one "


async def test_a_cancel_that_the_bus_lost_is_found_while_nothing_is_said() -> None:
    """Within a second or so."""
    recorder, request = Recorder(), request_for("hello")
    looking = asyncio.create_task(recorder.cancellations.run())
    writing = asyncio.create_task(answered(recorder, job_for(request), Scripted(error=None, wait=30.0)))
    async with asyncio.timeout(5):
        while not recorder.events:  # noqa: ASYNC110  the fake has no event for it
            await asyncio.sleep(0.01)
        await recorder.drafts.cancel(request.reply_id)
        await writing
    looking.cancel()
    assert body_of(recorder.events[-1])["content"] == ""
    assert recorder.events[-1].type == REPLY_FINISHED


async def test_a_reply_that_was_cancelled_before_is_not_begun() -> None:
    """Nothing is said: the API ends it by what the earlier attempt wrote, which stays in the draft."""
    for heard in (True, False):
        recorder, request = Recorder(), request_for("hello")
        half = Scripted(TextDelta("half a "), ToolCalling("clock"), error=RuntimeError("a bug"))
        with pytest.raises(RuntimeError):
            await answered(recorder, job_for(request), half)
        said = len(recorder.events)
        if heard:
            asked = ReplyCancelRequested(reply_id=request.reply_id, chat_id=request.chat_id, user_id="ann")
            recorder.cancellations.relay([Event(REPLY_CANCEL_REQUESTED, asked.json_bytes())])
        else:
            await recorder.drafts.cancel(request.reply_id)
        await answered(recorder, job_for(request, attempt=2))
        assert len(recorder.events) == said
        assert await recorder.drafts.read(request.reply_id) == Draft("half a ", 1, 1)


async def test_a_request_whose_reply_has_ended_is_passed_over() -> None:
    """As after a worker that died between the outcome and the acknowledgement."""
    recorder, request = Recorder(), request_for("hello")
    await recorder.drafts.end(request.reply_id)
    await answered(recorder, job_for(request, attempt=2))
    assert recorder.events == []


async def test_a_worker_that_was_taken_for_dead_stops_when_another_has_begun() -> None:
    """Its chunks would mix with the other's; it says nothing more, and no outcome."""
    recorder, request = Recorder(), request_for("/slow and steady")
    writing = asyncio.create_task(answered(recorder, job_for(request)))
    await recorder.chunk_published.wait()
    await recorder.drafts.start(request.reply_id, 2)
    said = len(recorder.events)
    await writing
    assert len(recorder.events) == said


async def test_lost_chunks_do_not_lose_the_reply() -> None:
    """The bus is away for a moment: chunks are ephemeral, the finished reply is whole."""
    recorder, request = Recorder(), request_for("hello there, who are you")
    recorder.refusals = {REPLY_CHUNK: 2, REPLY_STATUS: 1}
    await answered(recorder, job_for(request))
    indexes = [body_of(event)["index"] for event in recorder.events if event.type == REPLY_CHUNK]
    assert indexes == list(range(2, 2 + len(indexes)))
    assert "hello there, who are you" in body_of(recorder.events[-1])["content"]


@pytest.mark.parametrize(("content", "outcome"), [("hello", REPLY_FINISHED), ("/fail", REPLY_FAILED)])
async def test_the_outcome_is_published_until_the_bus_confirms_it(content: str, outcome: str) -> None:
    """The job is not done before somebody else is responsible."""
    recorder = Recorder()
    recorder.refusals = {outcome: 3}
    await answered(recorder, job_for(request_for(content)))
    assert recorder.refusals[outcome] == 0
    assert [event.type for event in recorder.events].count(outcome) == 1


async def test_a_cut_reply_is_not_reported() -> None:
    """A worker that is stopped leaves the request to another."""
    recorder = Recorder()
    task = asyncio.create_task(answered(recorder, job_for(request_for("/slow"))))
    await recorder.chunk_published.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert {event.type for event in recorder.events} == {REPLY_STATUS, REPLY_CHUNK}


async def test_what_a_worker_cannot_handle_is_refused_by_name() -> None:
    """It becomes a dead letter with a reason."""
    finished = ReplyFinished(reply_id="r", chat_id="c", content="x")
    with pytest.raises(PoisonedEventError, match=REPLY_FINISHED):
        await answered(Recorder(), Job(Event(REPLY_FINISHED, finished.json_bytes())))
    with pytest.raises(UndecodableEventError):
        await answered(Recorder(), Job(Event(REPLY_REQUESTED, b"{}")))
