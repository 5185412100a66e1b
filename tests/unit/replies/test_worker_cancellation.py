"""A reply is cancelled, begun again, or taken over by another worker."""

import asyncio
from time import perf_counter

import pytest
from unit.replies.surroundings import Broken, Recorder, Scripted, answered, body_of, job_for, request_for

from ai_worker.responder import (
    Part,
    TextDelta,
    ToolCalling,
)
from shared.events import (
    REPLY_CANCEL_REQUESTED,
    REPLY_CHUNK,
    REPLY_FINISHED,
    REPLY_STATUS,
    Event,
    ReplyCancelRequested,
)
from shared.store.drafts import Draft


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
