"""Engine.IO 4 straight on a WebSocket, for clients that open one at once and need no long-polling."""

import secrets
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
from ws_gateway.transport.heartbeat import PING_INTERVAL_SECONDS, PING_TIMEOUT_SECONDS
from ws_gateway.transport.websocket import WebSocket

_PING: Final = Wire(text_frame(b"2"))


class WebSocketConnection(OverWebSocket):
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
        """Sends the client its OPEN packet."""
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
        """Returns the WebSocket itself, which it keeps to its end."""
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
        """Sends a ping."""
        if self._websocket is not None:
            self.answered = False
            self._websocket.send(_PING)

    def timed_out(self) -> None:
        """Ends the connection, whose client has not answered the ping."""
        self._sessions.lost(self, PING_TIMEOUT)
        self.close()

    def ponged(self) -> None:
        """Notes that the client has answered the ping."""
        self.answered = True

    def lost(self) -> None:
        """Lets go of the WebSocket, which is no more."""
        self._sessions.lost(self, TRANSPORT_CLOSE)
        self._websocket = None
