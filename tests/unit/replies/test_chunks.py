"""Coalescing: whatever a responder says comes out as numbered chunks that join to exactly its text."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_worker.replies.chunks import (
    CHUNK_BYTES,
    MAX_CONTENT,
    WINDOW,
    Chunk,
    Pending,
    Piece,
    cleaned,
    coalesced,
)
from ai_worker.responder import (
    Facts,
    Part,
    ResponderError,
    Restarted,
    TextDelta,
    ToolCalling,
    ToolCompleted,
)

TEXTS = st.text(max_size=3000)
PAUSES = st.sampled_from([0.0, 0.0, 0.0, 0.002, 0.01])
PARTS = st.lists(
    st.tuples(PAUSES, st.one_of(TEXTS.map(TextDelta), st.just(ToolCalling("clock")))), max_size=12
)


async def said(*script: tuple[float, Part] | Exception) -> AsyncGenerator[Part, None]:
    """Says each part after its pause, or raises."""
    for step in script:
        if isinstance(step, Exception):
            raise step
        pause, part = step
        if pause:
            await asyncio.sleep(pause)
        yield part


async def pieces_of(*script: tuple[float, Part] | Exception, window: float = WINDOW) -> list[Piece]:
    async with coalesced(said(*script), window=window) as pieces:
        return [piece async for piece in pieces]


def chunks_in(pieces: list[Piece]) -> list[Chunk]:
    return [piece for piece in pieces if isinstance(piece, Chunk)]


@given(script=PARTS)
async def test_chunks_join_to_exactly_the_text_and_are_numbered_without_holes(
    script: list[tuple[float, Part]],
) -> None:
    """For any parts at any pace: indexes 0, 1, 2 …, one final chunk at the end, bounded, nothing lost."""
    pieces = await pieces_of(*script, window=0.004)
    chunks = chunks_in(pieces)
    text = "".join(part.text for _, part in script if isinstance(part, TextDelta))
    assert "".join(chunk.content for chunk in chunks) == cleaned(text)[:MAX_CONTENT]
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert [chunk.is_final for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert pieces[-1] is chunks[-1]
    assert all(chunk.content for chunk in chunks[:-1])
    assert all(len(chunk.content.encode()) <= CHUNK_BYTES for chunk in chunks)


@given(texts=st.lists(st.text(max_size=50), max_size=20), size=st.integers(4, 64))
def test_what_waits_never_exceeds_its_bytes(texts: list[str], size: int) -> None:
    """Text of any width of characters is split between characters, in order."""
    pending, sent = Pending(1.0, size), ""
    for text in texts:
        for content in pending.add(cleaned(text), 0.0):
            assert 0 < len(content.encode()) <= size
            sent += content
        assert len(pending.text.encode()) <= size
    assert sent + pending.pop() == "".join(map(cleaned, texts))


async def test_tokens_of_one_moment_travel_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred tokens at once are one chunk, not a hundred."""
    monkeypatch.setattr(
        "ai_worker.replies.chunks.FIRST_WINDOW", 60.0
    )  # the moment, however late the machine is
    chunks = chunks_in(await pieces_of(*[(0.0, TextDelta("word "))] * 100, window=60.0))
    assert [chunk.content for chunk in chunks] == ["word " * 100]


async def test_text_goes_before_the_next_arrives() -> None:
    """Text from before a pause longer than the window does not wait for what comes after it."""
    async with coalesced(said((0.0, TextDelta("now")), (30.0, TextDelta("much later")))) as pieces:
        async with asyncio.timeout(5):
            assert await anext(pieces) == Chunk(0, "now", is_final=False)


async def test_texts_further_apart_than_the_window_are_never_joined() -> None:
    """Even when whoever takes the chunks is slower than the text."""
    async with coalesced(said(*[(WINDOW * 1.3, TextDelta(word)) for word in "abcd"])) as pieces:
        taken = []
        async for piece in pieces:
            await asyncio.sleep(0.05)
            taken.append(piece)
    assert [chunk.content for chunk in chunks_in(taken)] == ["a", "b", "c", "d"]


async def test_a_taker_far_behind_gets_fewer_larger_chunks() -> None:
    """A stalled bus does not make a queue of small chunks."""
    async with coalesced(said(*[(WINDOW * 1.3, TextDelta(word)) for word in "abcdefgh"])) as pieces:
        await anext(pieces)
        await asyncio.sleep(1.6)
        rest = [piece async for piece in pieces]
    assert "".join(chunk.content for chunk in chunks_in(rest)) == "bcdefgh"
    assert len(rest) < 7


async def test_text_said_before_a_tool_is_called_goes_before_it() -> None:
    """Statuses and chunks keep the order in which they were said."""
    script: list[Part] = [TextDelta("wait"), ToolCalling("clock"), ToolCompleted("clock"), TextDelta("noon")]
    assert await pieces_of(*[(0.0, part) for part in script]) == [
        Chunk(0, "wait", is_final=False),
        ToolCalling("clock"),
        ToolCompleted("clock"),
        Chunk(1, "noon", is_final=True),
    ]


async def test_a_restart_numbers_from_zero_and_forgets_what_waited() -> None:
    """The text from before counts no more, neither what had gone out nor what was about to."""
    script: list[tuple[float, Part]] = [
        (0.0, TextDelta("gone")),
        (0.0, ToolCalling("clock")),
        (0.0, TextDelta("never sent")),
        (0.0, Restarted()),
        (0.0, TextDelta("x" * (MAX_CONTENT + 1))),
    ]
    pieces = await pieces_of(*script)
    assert pieces[:3] == [Chunk(0, "gone", is_final=False), ToolCalling("clock"), Restarted()]
    rest = chunks_in(pieces[3:])
    assert [chunk.index for chunk in rest] == list(range(len(rest)))
    assert "".join(chunk.content for chunk in rest) == "x" * MAX_CONTENT


async def test_facts_come_before_the_final_chunk_and_make_none_of_their_own() -> None:
    """They are about the whole reply; the last piece stays the final chunk."""
    facts = Facts({"model": "m"})
    assert await pieces_of((0.0, TextDelta("all")), (0.0, facts)) == [facts, Chunk(0, "all", is_final=True)]


async def test_facts_are_taken_after_a_text_that_fills_the_message() -> None:
    """A reply that is cut still says of itself what its responder knows."""
    facts = Facts({"finishReason": "length"})
    pieces = await pieces_of((0.0, TextDelta("x" * MAX_CONTENT)), (0.0, facts))
    assert facts in pieces
    assert sum(len(chunk.content) for chunk in chunks_in(pieces)) == MAX_CONTENT


async def test_a_final_chunk_follows_even_when_all_text_is_gone() -> None:
    """A client always learns from a chunk that no other follows."""

    async def slow_to_end() -> AsyncGenerator[Part, None]:
        yield TextDelta("all")
        await asyncio.sleep(WINDOW * 4)

    async with coalesced(slow_to_end()) as pieces:
        assert [piece async for piece in pieces] == [
            Chunk(0, "all", is_final=False),
            Chunk(1, "", is_final=True),
        ]


async def test_a_failure_comes_after_what_was_said_before_it() -> None:
    """The responder's own exception reaches the worker; no final chunk pretends an end."""
    async with coalesced(said((0.0, ToolCalling("clock")), ResponderError("demo_failure"))) as pieces:
        assert await anext(pieces) == ToolCalling("clock")
        with pytest.raises(ResponderError, match="demo_failure"):
            await anext(pieces)


async def test_leaving_stops_the_responder() -> None:
    """A reply that nobody waits for is not written on."""
    stopped = asyncio.Event()

    async def endless() -> AsyncGenerator[Part, None]:
        try:
            while True:
                yield TextDelta("on and on ")
                await asyncio.sleep(0.001)
        finally:
            stopped.set()

    async with coalesced(endless()) as pieces:
        await anext(pieces)
    assert stopped.is_set()


async def test_a_reply_without_end_is_cut_at_the_bound() -> None:
    """A reply never exceeds what a message may hold."""

    async def endless() -> AsyncGenerator[Part, None]:
        while True:
            yield TextDelta("x" * 777)

    async with coalesced(endless()) as pieces:
        chunks = chunks_in([piece async for piece in pieces])
    assert sum(len(chunk.content) for chunk in chunks) == MAX_CONTENT
    assert chunks[-1].is_final
