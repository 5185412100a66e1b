"""Writes of one turn of the event loop are joined: once for all that are sent the same."""

import asyncio

from ws_gateway.transport.frames import Frame, Wire
from ws_gateway.transport.turn_writes import HIGH_WATER, JoinedWrites, TurnWrites


def test_frames_are_joined_into_pieces_that_end_at_high_water() -> None:
    """Each says how many frames it holds, so that a writer knows what is left."""
    frames: list[Wire] = [Wire(b"x" * (HIGH_WATER // 2)) for _ in range(3)]
    pieces = JoinedWrites().of(frames)
    assert [count for count, _ in pieces] == [2, 1]
    assert b"".join(piece for _, piece in pieces) == b"".join(frame.wire for frame in frames)


def test_what_is_the_same_for_the_next_is_joined_once() -> None:
    """And anew for what differs, though the list is the same object."""
    joined = JoinedWrites()
    frames: list[Wire] = [Frame("one"), Frame("two")]
    pieces = joined.of(frames)
    assert joined.of(frames.copy()) is pieces
    frames.append(Frame("three"))
    assert joined.of(frames) == [(3, b"".join(frame.wire for frame in frames))]


class Writer:
    """Notes when it is flushed, and with what."""

    def __init__(self) -> None:
        self.flushed: list[JoinedWrites] = []

    def flush(self, joined: JoinedWrites) -> None:
        self.flushed.append(joined)


async def test_writers_are_flushed_at_the_end_of_the_turn_with_one_joiner() -> None:
    """Those of the next turn get another."""
    writes, first, second = TurnWrites(), Writer(), Writer()
    writes.write_soon(first)
    writes.write_soon(second)
    assert first.flushed == []
    await asyncio.sleep(0)
    assert len(first.flushed) == 1
    assert first.flushed == second.flushed
    writes.write_soon(first)
    await asyncio.sleep(0)
    assert len(first.flushed) == 2
    assert first.flushed[0] is not first.flushed[1]
