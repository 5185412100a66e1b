"""From a responder's parts to what a room gets: tokens joined into numbered chunks."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final, assert_never

from ai_worker.responder import Facts, Part, Restarted, TextDelta, ToolCalling, ToolCompleted

WINDOW: Final = 0.030
"""Seconds for which text waits for more at most."""
CHUNK_BYTES: Final = 1024
"""UTF-8 bytes that a chunk holds at most."""
MAX_CONTENT: Final = 32_000
"""Characters that a message holds at most."""
_LAG: Final = 1.0
"""Seconds behind the responder from which on chunks are filled up, window or not, to catch up."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of the reply.

    Attributes:
        index: 0, 1, 2 … without holes, from 0 again after `Restarted`.
        is_final: nothing follows; such a chunk may be empty, when its text had to go before the end was seen.
    """

    index: int
    content: str
    is_final: bool


Piece = Chunk | ToolCalling | ToolCompleted | Restarted | Facts
_Arrivals = asyncio.Queue[tuple[float, Part] | None]


@asynccontextmanager
async def coalesced(
    parts: AsyncGenerator[Part, None], *, window: float = WINDOW, size: int = CHUNK_BYTES
) -> AsyncIterator[AsyncGenerator[Piece, None]]:
    """The parts as pieces to publish; leaving the context stops the responder.

    The contents of the chunks (since the last `Restarted`), joined, are the text of the parts (see
    `cleaned`), cut at `MAX_CONTENT` characters; the last piece is a final chunk. Text that came before a tool
    was called goes before it. The iterator raises what the responder raises, after what was said before.
    """
    arrivals: _Arrivals = asyncio.Queue()
    pump = asyncio.create_task(_pump(parts, arrivals))
    try:
        async with aclosing(_pieces(arrivals, pump, window, size)) as pieces:
            yield pieces
    finally:
        pump.cancel()
        await asyncio.wait({pump})


async def _pump(parts: AsyncGenerator[Part, None], arrivals: _Arrivals) -> None:
    """Runs the responder in one task from its first part to its last, whoever waits for a chunk's way."""
    time, room = asyncio.get_running_loop().time, MAX_CONTENT
    try:
        async with aclosing(parts):
            async for part in parts:
                kept = part
                if isinstance(part, TextDelta):
                    kept = TextDelta(cleaned(part.text)[:room])
                    room -= len(kept.text)
                elif isinstance(part, Restarted):
                    room = MAX_CONTENT
                arrivals.put_nowait((time(), kept))
                if not room:
                    return
    finally:
        arrivals.put_nowait(None)


async def _pieces(
    arrivals: _Arrivals, pump: asyncio.Task[None], window: float, size: int
) -> AsyncGenerator[Piece, None]:
    time, index, pending = asyncio.get_running_loop().time, 0, Pending(window, size)
    while True:
        try:
            async with asyncio.timeout_at(pending.due):
                arrived = await arrivals.get()
        except TimeoutError:
            yield Chunk(index, pending.take(), is_final=False)
            index += 1
            continue
        if arrived is None:
            break
        since, part = arrived
        match part:
            case TextDelta(text):
                for content in pending.add(text, since, late=time() - since > _LAG):
                    yield Chunk(index, content, is_final=False)
                    index += 1
            case ToolCalling() | ToolCompleted():
                if pending.text:
                    yield Chunk(index, pending.take(), is_final=False)
                    index += 1
                yield part
            case Restarted():
                pending.take()
                index = 0
                yield part
            case Facts():
                yield part
            case _:
                assert_never(part)
    await pump
    yield Chunk(index, pending.take(), is_final=True)


class Pending:
    """Text that waits for more.

    Attributes:
        text: what waits, of at most `size` UTF-8 bytes.
        due: the loop time at which it has to go; None while nothing waits.
    """

    def __init__(self, window: float, size: int) -> None:
        self._window = window
        self._size = size
        self._bytes = 0
        self.text = ""
        self.due: float | None = None

    def add(self, text: str, at: float, *, late: bool = False) -> Iterator[str]:
        """Takes text that arrived `at`; yields what has to go before it or is too large to wait."""
        if self.due is not None and at >= self.due and not late:
            yield self.take()
        for character in text:
            width = len(character.encode())
            if self._bytes + width > self._size:
                yield self.take()
            self.text += character
            self._bytes += width
        if self.text and self.due is None:
            self.due = at + self._window

    def take(self) -> str:
        """What waited; nothing waits now."""
        taken, self.text, self._bytes, self.due = self.text, "", 0, None
        return taken


def cleaned(text: str) -> str:
    """The text without what a message cannot hold: NUL, and surrogates (which become `?`)."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
