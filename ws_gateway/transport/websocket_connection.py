"""Engine.IO 4 straight on a WebSocket: a client that opens one at once, and needs no long-polling."""

import asyncio
import secrets
from collections import deque
from typing import Final

import orjson

from ws_gateway.transport.connection import (
    PING_TIMEOUT,
    TRANSPORT_CLOSE,
    OverWebSocket,
    Sender,
    Sessions,
)
from ws_gateway.transport.frames import Frame, Wire, text_frame
from ws_gateway.transport.websocket import WebSocket

PING_INTERVAL_SECONDS: Final = 25
PING_TIMEOUT_SECONDS: Final = 20
_PING: Final = Wire(text_frame(b"2"))


class DirectConnection(OverWebSocket):
    """A connection that is one WebSocket from its beginning to its end; the WebSocket's owner.

    Attributes:
        answered: the client has answered the last ping.
    """

    __slots__ = ("_websocket", "answered")

    def __init__(self, sessions: Sessions, *, origin: str | None, address: str) -> None:
        super().__init__(secrets.token_urlsafe(15), sessions, origin=origin, address=address)
        self._websocket: WebSocket | None = None
        self.answered = True

    def open(self, websocket: WebSocket, *, max_payload: int) -> None:
        """Greets the client."""
        self._websocket = websocket
        hello = {
            "sid": self.sid,
            "upgrades": [],
            "pingTimeout": PING_TIMEOUT_SECONDS * 1000,
            "pingInterval": PING_INTERVAL_SECONDS * 1000,
            "maxPayload": max_payload,
        }
        websocket.send(Wire(text_frame(b"0" + orjson.dumps(hello))))
        self._sessions.opened(self)

    def send(self, frame: Frame) -> None:
        """Queues a frame."""
        if self._websocket is not None:
            self._websocket.send(frame)

    @property
    def sender(self) -> Sender:
        """The WebSocket itself, which it keeps to its end."""
        return self._websocket or self

    async def writable(self) -> None:
        """Returns when the client takes what is sent to it."""
        if self._websocket is not None:
            await self._websocket.writable()

    def close(self) -> None:
        """Ends it once what is queued is sent."""
        if self._websocket is not None:
            self._websocket.close()

    def abort(self) -> None:
        """Ends it at once."""
        if self._websocket is not None:
            self._websocket.abort()

    def hold(self) -> None:
        """Reads nothing for now."""
        if self._websocket is not None:
            self._websocket.pause_reading()

    def resume(self) -> None:
        """Reads on."""
        if self._websocket is not None:
            self._websocket.resume_reading()

    def ping(self) -> None:
        """Asks the client whether it is there."""
        if self._websocket is not None:
            self.answered = False
            self._websocket.send(_PING)

    def timed_out(self) -> None:
        """The client did not say so."""
        self._sessions.lost(self, PING_TIMEOUT)
        self.close()

    def ponged(self) -> None:
        """The client is there."""
        self.answered = True

    def lost(self) -> None:
        """The WebSocket is no more."""
        self._sessions.lost(self, TRANSPORT_CLOSE)
        self._websocket = None


class Pings:
    """Pings connections at their intervals, and ends those that do not answer: one timer for all."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due: deque[tuple[float, DirectConnection]] = deque()
        self._asked: deque[tuple[float, DirectConnection]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: DirectConnection) -> None:
        """Pings `connection` for as long as it lasts."""
        self._due.append((self._loop.time() + PING_INTERVAL_SECONDS, connection))
        if self._timer is None:
            self._wait()

    def stop(self) -> None:
        """Pings no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        now = self._loop.time()
        while self._asked and self._asked[0][0] <= now:
            _, connection = self._asked.popleft()
            if not connection.ended and not connection.answered:
                connection.timed_out()
        while self._due and self._due[0][0] <= now:
            _, connection = self._due.popleft()
            if not connection.ended:
                connection.ping()
                self._asked.append((now + PING_TIMEOUT_SECONDS, connection))
                self._due.append((now + PING_INTERVAL_SECONDS, connection))
        self._wait()

    def _wait(self) -> None:
        """Wakes up for whoever is first, once a second at most."""
        first = [waiting[0][0] for waiting in (self._asked, self._due) if waiting]
        if first:
            self._timer = self._loop.call_at(max(min(first), self._loop.time() + 1.0), self._tick)
        else:
            self._timer = None
