"""The promises of the demo assistant, part by part."""

import asyncio
from datetime import UTC, datetime
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_worker.demo import DemoResponder, compose, grouped
from ai_worker.replies.chunks import MAX_CONTENT, Chunk, coalesced
from ai_worker.responder import Facts, Part, ResponderError, TextDelta, ToolCalling, ToolCompleted
from shared.events import HistoryMessage, ReplyRequested
from shared.ids import new_id

NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
NOON_TEXT = "2026-11-21T12:00:00.000Z"


def request_for(content: str) -> ReplyRequested:
    before = HistoryMessage(id=new_id(), role="USER", user_id="ann", name="Ann", content="/fail before")
    asked = HistoryMessage(id=new_id(), role="USER", user_id="ann", name="Ann", content=content)
    return ReplyRequested(
        reply_id=new_id(),
        chat_id=new_id(),
        reply_to=asked.id,
        title="A chat",
        context=None,
        members={"ann": "Ann"},
        history=(before, asked),
    )


async def parts_for(content: str) -> list[Part]:
    responder = DemoResponder(clock=lambda: NOON)
    return [part async for part in responder.respond(request_for(content))]


async def chunks_for(content: str) -> list[Chunk]:
    async with coalesced(DemoResponder(clock=lambda: NOON).respond(request_for(content))) as pieces:
        return [piece async for piece in pieces if isinstance(piece, Chunk)]


def text_of(parts: list[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextDelta))


async def test_it_says_that_it_is_a_demo_and_quotes_the_message() -> None:
    """Nobody takes it for a model; the answer belongs to the message."""
    text = text_of(await parts_for("Which line goes\nto the  harbour?"))
    assert "demo" in text.lower()
    assert "Which line goes\nto the  harbour?" in text


async def test_the_same_message_gets_the_same_answer() -> None:
    """Clients can be tested against it."""
    one, other = await parts_for("hello"), await parts_for("hello")
    assert [part for part in one if not isinstance(part, Facts)] == [
        part for part in other if not isinstance(part, Facts)
    ]


async def test_it_says_of_itself_what_a_model_says() -> None:
    """Clients that show who answered, and how fast, can be built against it; early, and whole."""
    parts = await parts_for("hello")
    assert isinstance(parts[0], TextDelta)
    first, last = (part.metadata for part in parts if isinstance(part, Facts))
    assert first == {
        "model": "demo",
        "fallback": False,
        "cache": False,
        "firstTokenMs": first["firstTokenMs"],
    }
    assert last == {
        **first,
        "tokensIn": 0,
        "tokensOut": 0,
        "finishReason": "stop",
        "totalMs": last["totalMs"],
    }
    assert 0 <= first["firstTokenMs"] < last["totalMs"]
    assert parts[-1] == Facts(last)


@pytest.mark.parametrize(
    "content",
    ["x", ".", "hello there", "🙂", "a b " * 500, "word " * 6000, "x" * MAX_CONTENT, "🙂" * MAX_CONTENT],
)
async def test_every_answer_streams_in_three_chunks_or_more_within_seconds(content: str) -> None:
    """Coalescing does not swallow the stream, and the bounds of a message hold."""
    started = perf_counter()
    chunks = await chunks_for(content)
    assert perf_counter() - started < 2.5
    text = "".join(chunk.content for chunk in chunks)
    assert len(chunks) >= 3
    assert content in text
    assert 1 <= len(text) <= MAX_CONTENT
    assert chunks[-1].is_final
    assert all(chunk.content for chunk in chunks)


async def test_it_streams_in_three_chunks_however_long_text_waits() -> None:
    """A wide window makes fewer, larger chunks, not one."""
    parts = DemoResponder(window=0.3).respond(request_for("a message of some thirty words " * 5))
    async with coalesced(parts, window=0.3) as pieces:
        chunks = [piece async for piece in pieces if isinstance(piece, Chunk)]
    assert 3 <= len(chunks) <= 4


async def test_a_normal_message_is_answered_in_well_under_two_seconds() -> None:
    """It paces itself only a little."""
    started = perf_counter()
    await parts_for("a message of some thirty words " * 5)
    assert perf_counter() - started < 1.5


@pytest.mark.parametrize("content", ["/time", "the /time please", "/TIME?", "now (/time)"])
async def test_time_calls_a_tool_first(content: str) -> None:
    """Calling and completed come before the first word, and the answer holds what the tool said."""
    parts = await parts_for(content)
    assert parts[:2] == [ToolCalling("clock"), ToolCompleted("clock")]
    assert all(isinstance(part, TextDelta | Facts) for part in parts[2:])
    assert NOON_TEXT in text_of(parts)


@pytest.mark.parametrize("content", ["/timeout", "what time is it", "//time", "and/time"])
async def test_what_only_looks_like_a_command_is_none(content: str) -> None:
    """Commands are words of their own."""
    assert all(isinstance(part, TextDelta | Facts) for part in await parts_for(content))


async def test_slow_takes_about_ten_seconds_a_word_at_a_time() -> None:
    """There is something to cancel, to resume and to watch; it does not hold up others."""
    started = perf_counter()
    async with asyncio.TaskGroup() as group:
        slow = group.create_task(chunks_for("/slow tell me"))
        both = group.create_task(parts_for("/slow and /time"))
        await parts_for("quick")
        assert perf_counter() - started < 2
    assert 9 < perf_counter() - started < 12
    words = [chunk.content.split() for chunk in slow.result()]
    assert all(len(word) == 1 for word in words)
    assert len(words) >= 10
    assert both.result()[0] == ToolCalling("clock")


@pytest.mark.parametrize("content", ["/fail", "please /fail now", "/slow /time /fail"])
async def test_fail_fails_before_the_first_word(content: str) -> None:
    """It wins over the other commands, and has a code."""
    started = perf_counter()
    with pytest.raises(ResponderError) as failure:
        await parts_for(content)
    assert failure.value.code == "demo_failure"
    assert perf_counter() - started < 1


@pytest.mark.parametrize("room", [0, 1, 20, 60, 200])
def test_the_frame_gives_way_to_the_words(room: int) -> None:
    """However long the message, its words are whole and the bound holds."""
    words = "w" * (MAX_CONTENT - room)
    text = compose(words, f"The time is {NOON_TEXT}. ")
    assert words in text
    assert len(text) <= MAX_CONTENT


def test_words_beyond_the_bound_are_cut() -> None:
    """A message may have been stored under a wider bound."""
    assert compose("w" * (MAX_CONTENT + 1), "") == "w" * MAX_CONTENT


def test_braces_in_a_message_are_only_text() -> None:
    """A message is never a template."""
    assert "{time} {0} {}" in compose("{time} {0} {}", "")


@given(pieces=st.lists(st.text(max_size=5), max_size=60), count=st.integers(1, 30))
def test_grouping_keeps_the_text_and_the_count(pieces: list[str], count: int) -> None:
    """For any pieces."""
    groups = grouped(pieces, count)
    assert "".join(groups) == "".join(pieces)
    assert len(groups) <= count
