"""A client's connection over long-polling, and its way over to a WebSocket."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from engineio import packet as eio

from ws_gateway.metrics import HANDSHAKE_TIMEOUT, LIMITED
from ws_gateway.transport.connection import TRANSPORT_CLOSE, OverWebSocket, Sessions
from ws_gateway.transport.frames import Frame, Wire, text_frame
from ws_gateway.transport.polling.fallback_websocket import FallbackWebSocket
from ws_gateway.transport.polling.packet_queue import MessagePacket, PacketQueue
from ws_gateway.transport.websocket import WebSocket

ANSWERS_WAITING: Final = 4
"""Answers may wait for a poll up to so many times what events may: a client asked for them."""


class PollingConnection(OverWebSocket):
    """A connection that began with long-polling, or whose WebSocket python-engineio serves.

    Attributes:
        engine_socket: python-engineio's session.
    """

    __slots__ = ("_disconnect", "_given_up", "_max_waiting", "_websocket", "engine_socket")

    def __init__(
        self,
        engine_socket: Any,
        sessions: Sessions,
        *,
        origin: str | None,
        address: str,
        max_waiting: int,
        disconnect: Callable[[str], None],
    ) -> None:
        super().__init__(engine_socket.sid, sessions, origin=origin, address=address)
        self.engine_socket = engine_socket
        self._disconnect = disconnect
        self._max_waiting = max_waiting
        self._websocket: WebSocket | None = None
        self._given_up = False

    def send(self, frame: Frame) -> None:
        """Queues a frame to the WebSocket, or for the next poll."""
        if self._websocket is not None:
            self._websocket.send(frame)
            return
        queue: PacketQueue = self.engine_socket.queue
        if self.engine_socket.closed or self._given_up:
            return
        if queue.waiting_bytes > self._max_waiting and not frame.answers:
            if frame.droppable:
                return
            queue.drop_droppable()
            if queue.waiting_bytes > self._max_waiting:
                self._give_up(queue.waiting_bytes)
                return
        if queue.answer_bytes > ANSWERS_WAITING * self._max_waiting:
            self._give_up(queue.answer_bytes)
            return
        queue.put_nowait(MessagePacket(frame))

    def _give_up(self, waiting: int) -> None:
        self._given_up = True
        self._sessions.slow(self, waiting)

    async def writable(self) -> None:
        """Returns when the client takes what is sent to it over its WebSocket."""
        if self._websocket is not None:
            await self._websocket.writable()

    def close(self) -> None:
        """Ends it once what is queued is sent."""
        self._disconnect(self.sid)

    def abort(self) -> None:
        """Ends it at once."""
        if self._websocket is not None:
            self._websocket.abort()
        websocket: FallbackWebSocket | None = getattr(self.engine_socket, "websocket", None)
        if websocket is not None:
            websocket.abort()
        self.close()

    # --- going on over a WebSocket ---

    @property
    def upgradable(self) -> bool:
        """True while it is open, and neither has a WebSocket nor is about to have one."""
        engine = self.engine_socket
        over = engine.closed or engine.closing or engine.upgrading or engine.upgraded
        return bool(engine.connected and not over)

    def upgrade(self) -> "Upgrade":
        """Returns the first owner of the WebSocket that it shall go on over."""
        self.engine_socket.upgrading = True
        return Upgrade(self)

    def probed(self) -> None:
        """Answers an open poll, so that the client may go over to the WebSocket that it tries."""
        self.engine_socket.queue.put_nowait(eio.Packet(eio.NOOP))

    def upgraded(self, websocket: WebSocket) -> None:
        """Sends everything over the WebSocket from now on, first what no poll has taken."""
        engine = self.engine_socket
        engine.upgrading, engine.upgraded = False, True
        self._websocket = websocket
        websocket.owner = self
        engine.queue.pour_into(partial(_pour, websocket))

    def not_upgraded(self) -> None:
        """Goes on with polling: the WebSocket was not what it was asked for."""
        self.engine_socket.upgrading = False

    def ponged(self) -> None:
        """Has python-engineio ping the client again later."""
        self.engine_socket.schedule_ping()

    def lost(self) -> None:
        """Ends the session, whose WebSocket is no more."""
        self._sessions.lost(self, TRANSPORT_CLOSE)
        self.close()


class Upgrade:
    """Owns a WebSocket until the polling client has tried it and come over.

    Attributes:
        websocket: set before anything is received.
    """

    websocket: WebSocket

    def __init__(self, polling: PollingConnection) -> None:
        self._polling = polling
        self._probed = False

    def received(self, data: str | bytes) -> None:
        """Answers the probe, then takes the word that the client has come over."""
        if not self._probed and data == "2probe":
            self._probed = True
            self.websocket.send(Wire(text_frame(b"3probe")))
            self._polling.probed()
        elif self._probed and data == "5":
            self._polling.upgraded(self.websocket)
        else:
            self._polling.not_upgraded()
            self.websocket.close()

    def give_up(self) -> None:
        """Cuts the WebSocket of a client that has not come over in its time."""
        if self.websocket.owner is self and not self.websocket.closing:
            LIMITED.labels(HANDSHAKE_TIMEOUT).inc()
            self.websocket.abort()

    def slow(self, waiting: int) -> None:
        """Does nothing: nothing is sent that could wait."""

    def lost(self) -> None:
        """Leaves the client to its polling: its WebSocket is no more."""
        self._polling.not_upgraded()


def _pour(websocket: WebSocket, packet: Any) -> None:
    """Sends what python-engineio queues: pings, and the end."""
    if packet is None:
        websocket.close()
    elif isinstance(packet, MessagePacket):
        websocket.send(packet.frame)
    else:
        websocket.send(Wire(text_frame(packet.encode().encode())))
