"""Joins what one turn of the event loop sends: each WebSocket writes it at the end of the turn, in one piece.

There is no timer: a lone message waits for nothing, and under load a turn holds more.
"""

import asyncio
from collections.abc import Iterator
from typing import Final, Protocol

from ws_gateway.transport.frames import Wire

HIGH_WATER: Final = 64 * 1024
"""Bytes in the transport's buffer from which on frames wait in the WebSocket instead."""


class JoinedWrites:
    """Joins what waits for WebSockets, once for those in a row for which the same waits."""

    def __init__(self) -> None:
        self._frames: list[Wire] = []
        self._pieces: list[tuple[int, bytes]] = []

    def of(self, frames: list[Wire]) -> list[tuple[int, bytes]]:
        """Returns pieces of about `HIGH_WATER` bytes: how many of `frames` each holds, and their bytes."""
        if frames != self._frames:
            self._frames = frames.copy()
            self._pieces = list(_joined(frames))
        return self._pieces


class TurnWriter(Protocol):
    """A WebSocket that has something to write."""

    def flush(self, joined: JoinedWrites) -> None:
        """Writes what is queued, as long as the transport takes it."""


class TurnWrites:
    """The WebSockets that have something to write in the current turn of the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due: list[TurnWriter] = []

    def write_soon(self, writer: TurnWriter) -> None:
        """Flushes `writer` when the turn ends; to be called once in a turn."""
        if not self._due:
            self._loop.call_soon(self._flush)
        self._due.append(writer)

    def _flush(self) -> None:
        due, self._due = self._due, []
        joined = JoinedWrites()
        for writer in due:
            writer.flush(joined)


def _joined(frames: list[Wire]) -> Iterator[tuple[int, bytes]]:
    wires: list[bytes] = []
    size = 0
    for frame in frames:
        wires.append(frame.wire)
        size += len(frame.wire)
        if size >= HIGH_WATER:
            yield len(wires), b"".join(wires)
            wires, size = [], 0
    if wires:
        yield len(wires), b"".join(wires)
