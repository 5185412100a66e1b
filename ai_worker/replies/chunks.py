"""Joins a responder's tokens into numbered chunks for the room."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final, assert_never

from ai_worker.responder import Facts, Part, Restarted, TextDelta, ToolCalling, ToolCompleted

WINDOW: Final = 0.030
"""Seconds for which text waits for more at most, unless set otherwise."""
FIRST_WINDOW: Final = 0.001
"""The same for the first text of a reply: somebody waits for a sign of life."""
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


class Cut:
    """A flag that ends a stream where it is, once set."""

    def __init__(self) -> None:
        self._set = False
        self._callbacks: list[Callable[[], None]] = []

    def is_set(self) -> bool:
        """Returns whether nothing more is wanted."""
        return self._set

    def set(self) -> None:
        """Ends the stream: nothing more is wanted."""
        self._set = True
        for callback in self._callbacks:
            callback()

    def on_set(self, callback: Callable[[], None]) -> None:
        """Calls `callback` when it is set."""
        self._callbacks.append(callback)


@asynccontextmanager
async def coalesced(
    parts: AsyncGenerator[Part, None],
    *,
    window: float = WINDOW,
    size: int = CHUNK_BYTES,
    cut: Cut | None = None,
) -> AsyncIterator[AsyncGenerator[Piece, None]]:
    """Yields the parts as pieces to publish; leaving the context stops the responder.

    The contents of the chunks (since the last `Restarted`), joined, are the text of the parts (see
    `cleaned`), cut at `MAX_CONTENT` characters; the last piece is a final chunk. Text that came before a tool
    was called goes before it. The iterator raises what the responder raises, after what was said before. When
    `cut` is set, it ends at once, without a final chunk.
    """
    cut = Cut() if cut is None else cut
    arrivals: _Arrivals = asyncio.Queue()
    cut.on_set(lambda: arrivals.put_nowait(None))
    pump = asyncio.create_task(_pump(parts, arrivals))
    try:
        async with aclosing(_pieces(arrivals, pump, Pending(window, size), cut)) as pieces:
            yield pieces
    finally:
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)


async def _pump(parts: AsyncGenerator[Part, None], arrivals: _Arrivals) -> None:
    """Runs the responder in one task from its first part to its last, whoever waits for a chunk's way."""
    time, room = asyncio.get_running_loop().time, MAX_CONTENT
    try:
        async with aclosing(parts):
            async for part in parts:
                kept = part
                if isinstance(part, TextDelta):
                    if not room:
                        return
                    kept = TextDelta(cleaned(part.text)[:room])
                    room -= len(kept.text)
                elif isinstance(part, Restarted):
                    room = MAX_CONTENT
                arrivals.put_nowait((time(), kept))
    finally:
        arrivals.put_nowait(None)


async def _pieces(
    arrivals: _Arrivals, pump: asyncio.Task[None], pending: "Pending", cut: Cut
) -> AsyncGenerator[Piece, None]:
    time, index = asyncio.get_running_loop().time, 0
    async with aclosing(_arrived(arrivals, pending, cut)) as arrived:
        async for since, part in arrived:
            match part:
                case TextDelta(text):
                    for content in pending.add(text, since, late=time() - since > _LAG):
                        yield Chunk(index, content, is_final=False)
                        index += 1
                case _Due() | ToolCalling() | ToolCompleted():
                    if pending.text:
                        yield Chunk(index, pending.pop(), is_final=False)
                        index += 1
                    if not isinstance(part, _Due):
                        yield part
                case Restarted():
                    pending.restart()
                    index = 0
                    yield part
                case Facts():
                    yield part
                case _:
                    assert_never(part)
    if not cut.is_set():
        await pump
        yield Chunk(index, pending.pop(), is_final=True)


async def _arrived(
    arrivals: _Arrivals, pending: "Pending", cut: Cut
) -> AsyncGenerator[tuple[float, "Part | _Due"], None]:
    """Yields what arrives, and `_Due` when waiting text has to go; ends with the last part, or when cut."""
    while not cut.is_set():
        try:
            async with asyncio.timeout_at(pending.due):
                arrival = await arrivals.get()
        except TimeoutError:
            yield 0.0, _Due()
        else:
            if arrival is None:
                return
            yield arrival


class _Due:
    """A sign that waiting text has to go."""


class Pending:
    """Text that waits for more.

    Attributes:
        text: what waits, of at most `size` UTF-8 bytes.
        due: the loop time at which it has to go; None while nothing waits.
    """

    def __init__(self, window: float, size: int) -> None:
        self._window = window
        self._next_window = min(window, FIRST_WINDOW)
        self._size = size
        self._bytes = 0
        self.text = ""
        self.due: float | None = None

    def add(self, text: str, at: float, *, late: bool = False) -> Iterator[str]:
        """Adds text that arrived `at`; yields what has to go before it or is too large to wait."""
        if self.due is not None and at >= self.due and not late:
            yield self.pop()
        for character in text:
            width = len(character.encode())
            if self._bytes + width > self._size:
                yield self.pop()
            self.text += character
            self._bytes += width
        if self.text and self.due is None:
            self.due = at + self._next_window
            self._next_window = self._window

    def restart(self) -> None:
        """Drops what waited; the text that comes is the first again."""
        self.pop()
        self._next_window = min(self._window, FIRST_WINDOW)

    def pop(self) -> str:
        """Takes out what waited and returns it."""
        popped, self.text, self._bytes, self.due = self.text, "", 0, None
        return popped


def cleaned(text: str) -> str:
    """Returns the text without what a message cannot hold: NUL, and surrogates (which become `?`)."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
