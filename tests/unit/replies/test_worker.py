"""One request becomes one reply: what is published, in which order, and what happens when things fail."""

import asyncio

import pytest
from unit.replies.surroundings import (
    Broken,
    Recorder,
    Scripted,
    Silent,
    answered,
    body_of,
    job_for,
    request_for,
)

from ai_worker.responder import (
    Facts,
    ResponderError,
    Restarted,
    TextDelta,
    ToolCalling,
)
from shared.bus import Job, PoisonedEventError
from shared.events import (
    REPLY_CHUNK,
    REPLY_FAILED,
    REPLY_FINISHED,
    REPLY_REQUESTED,
    REPLY_STATUS,
    Event,
    ReplyFinished,
    UndecodableEventError,
    chat_room,
    command_of,
)
from shared.store.drafts import Draft


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
