"""The WebSockets that are open: waited for and cut all together when the gateway stops."""

import asyncio
from typing import Protocol

from ws_gateway.transport.turn_writes import TurnWrites


class Abortable(Protocol):
    """A WebSocket that can be cut."""

    def abort(self) -> None:
        """Cuts the connection."""


class OpenWebSockets:
    """All WebSockets that are open.

    Attributes:
        writes: has them write what was sent to them when the current turn of the event loop ends.
        none_left: no WebSocket is open.
    """

    def __init__(self) -> None:
        self._open: set[Abortable] = set()
        self.writes = TurnWrites()
        self.none_left = asyncio.Event()
        self.none_left.set()

    def opened(self, websocket: Abortable) -> None:
        """Adds a WebSocket that is open."""
        self._open.add(websocket)
        self.none_left.clear()

    def lost(self, websocket: Abortable) -> None:
        """Forgets a WebSocket that is no more."""
        self._open.discard(websocket)
        if not self._open:
            self.none_left.set()

    def abort(self) -> None:
        """Cuts all that are open."""
        for websocket in list(self._open):
            websocket.abort()
