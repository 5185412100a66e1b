"""The server's end of a WebSocket (RFC 6455), without extensions, straight on its TCP connection.

It has no task and no queue of its own. What is sent in one turn of the event loop is written at its end, in
one piece; what a client asks is handed on as it arrives. Backpressure: while the client does not take what is
written to it, nothing more is read from it, and what waits for it is bounded.
"""

import asyncio
import struct
from typing import Final, Protocol

from shared.http.rate_limit import TokenBucket
from ws_gateway.metrics import FLOODING, LIMITED, PAYLOAD_TOO_LARGE
from ws_gateway.transport.frame_reader import (
    CLOSE,
    FLOODED,
    NORMAL,
    PING,
    PONG,
    PROTOCOL_ERROR,
    TOO_BIG,
    ControlFrame,
    FrameError,
    FrameReader,
)
from ws_gateway.transport.frames import Burst, Wire, frame_head
from ws_gateway.transport.open_websockets import OpenWebSockets
from ws_gateway.transport.turn_writes import HIGH_WATER, JoinedWrites

CLOSE_SECONDS: Final = 5.0
"""How long a client has to answer the closing of its WebSocket."""
FLOODED_SECONDS: Final = 0.5
"""How long a client that floods has to read why it is cut off."""
_LIMITS: Final = {FLOODED: FLOODING, TOO_BIG: PAYLOAD_TOO_LARGE}


class Owner(Protocol):
    """The one that a WebSocket speaks for: a connection, or an upgrade to one."""

    def received(self, data: str | bytes) -> None:
        """Handles a message."""

    def slow(self, waiting: int) -> None:
        """Learns that more waits for the client than may; nothing is queued to it any more."""

    def lost(self) -> None:
        """Learns, once, that the WebSocket is no more."""


class WebSocket(asyncio.Protocol):
    """One client's WebSocket, from the answer to its upgrade request on.

    Attributes:
        owner: who gets what is received; may be replaced by another.
        closing: it takes nothing more and sends nothing more.
    """

    __slots__ = (
        "_all",
        "_frame_rate",
        "_max_waiting",
        "_paused",
        "_pending",
        "_reader",
        "_transport",
        "_waiting",
        "_writers",
        "_writes",
        "closing",
        "owner",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        owner: Owner,
        *,
        all_: OpenWebSockets,
        max_message: int,
        max_waiting: int,
        frame_rate: TokenBucket | None = None,
    ) -> None:
        """Takes over a connection; sizes are in bytes. `frame_rate` bounds the client's frames."""
        self.owner = owner
        self.closing = False
        self._transport = transport
        self._all = all_
        self._writes = all_.writes
        self._reader = FrameReader(max_message)
        self._max_waiting = max_waiting
        self._frame_rate = frame_rate
        # Mostly it is one frame, and a list for each costs more than what the list is for.
        self._pending: Wire | list[Wire] | None = None
        self._paused = False
        self._waiting = 0
        self._writers: list[asyncio.Future[None]] = []
        transport.set_write_buffer_limits(HIGH_WATER)
        transport.set_protocol(self)
        all_.opened(self)

    # --- to the client ---

    def send(self, frame: Wire) -> None:
        """Queues what is to go out."""
        if self.closing:
            return
        pending = self._pending
        if pending is None:
            self._pending = frame
            self._writes.write_soon(self)
        elif isinstance(pending, list):
            pending.append(frame)
        else:
            self._pending = [pending, frame]
        if self._paused:
            self._waiting += _counted(frame)
            if self._waiting > self._max_waiting:
                self._shed()

    def flush(self, joined: JoinedWrites) -> None:
        """Writes what is queued, as long as the transport takes it."""
        pending = self._pending
        if self._paused or pending is None:
            return
        if not isinstance(pending, list):
            self._pending, self._waiting = None, 0
            self._transport.write(pending.wire)
            return
        written = 0
        for count, piece in joined.of(pending):
            self._transport.write(piece)
            written += count
            if self._paused:
                break
        self._keep(pending[written:])
        if self._waiting > self._max_waiting:
            self._shed()

    async def writable(self) -> None:
        """Returns when the client takes what is written to it, or has gone."""
        while self._paused and not self.closing:
            writer = asyncio.get_running_loop().create_future()
            self._writers.append(writer)
            await writer

    def pause_writing(self) -> None:
        """Reads nothing more: the client does not take what is written to it as fast."""
        self._paused = True
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Writes on, and reads on once nothing waits here."""
        self._paused = False
        self.flush(JoinedWrites())
        if self._paused:
            return
        self._wake_writers()
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def send_burst(self, burst: Burst) -> None:
        """Queues frames that go out one after the other."""
        self.send(burst)

    def _wake_writers(self) -> None:
        writers, self._writers = self._writers, []
        for writer in writers:
            if not writer.done():
                writer.set_result(None)

    def _shed(self) -> None:
        """Drops frames that are droppable; where that is not enough, reports a slow consumer."""
        pending = self._pending if isinstance(self._pending, list) else [self._pending]
        self._keep([each for each in pending if each is not None and not each.droppable])
        if self._waiting > self._max_waiting:
            waiting = self._waiting
            self._stop()
            self.owner.slow(waiting)

    def _keep(self, pending: list[Wire]) -> None:
        self._pending = pending or None
        self._waiting = sum(map(_counted, pending))

    def close(self, code: int = NORMAL) -> None:
        """Sends a close frame after what is queued; the connection ends with the client's, or is cut."""
        if self.closing:
            return
        self.send(_close_frame(code))
        self._stop()
        self.flush(JoinedWrites())
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.abort)

    def abort(self) -> None:
        """Cuts the connection."""
        self._pending = None
        self._stop()
        self._transport.abort()

    # --- from the client ---

    def pause_reading(self) -> None:
        """Reads no more for now."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Reads on, unless the client is slow."""
        if not self._paused and not self._transport.is_closing():
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Handles the frames that are complete with `data`."""
        try:
            for got in self._reader.read(data):
                if isinstance(got, ControlFrame):
                    self._handle_control(got)
                elif got is not None:
                    self.owner.received(got)
                if self._frame_rate is not None and not self._frame_rate.take():
                    raise FrameError(FLOODED)
        except FrameError as error:
            self._fail(error.code)

    def connection_lost(self, _: Exception | None) -> None:
        """Lets go of everything; the owner learns that the connection is no more."""
        self._stop()
        self._pending = None
        self._reader.clear()
        self._wake_writers()
        self._all.lost(self)
        owner, self.owner = self.owner, _NOBODY
        owner.lost()

    def _handle_control(self, frame: ControlFrame) -> None:
        payload = frame.payload
        if frame.opcode == PING:
            self.send(Wire(frame_head(PONG, len(payload)) + payload))
        elif frame.opcode == CLOSE:
            code = NORMAL if len(payload) < 2 else struct.unpack_from("!H", payload)[0]
            if not self.closing:
                self.send(_close_frame(code if 1000 <= code < 5000 else PROTOCOL_ERROR))
                self._stop()
                self.flush(JoinedWrites())
            self._transport.close()

    def _stop(self) -> None:
        """Sends nothing more and hands nothing on from here on."""
        self.closing = True
        self._reader.discarding = True

    def _fail(self, code: int) -> None:
        """Ends a WebSocket on which nothing can be understood any more."""
        if code in _LIMITS:
            LIMITED.labels(_LIMITS[code]).inc()
        self.close(code)
        if code == FLOODED:  # its answer to that would be at the end of the flood
            self.pause_reading()
            asyncio.get_running_loop().call_later(FLOODED_SECONDS, self.abort)
        self.owner.lost()
        self.owner = _NOBODY


class _Nobody:
    def received(self, data: str | bytes) -> None: ...

    def slow(self, waiting: int) -> None: ...

    def lost(self) -> None: ...


_NOBODY: Final = _Nobody()


def _counted(frame: Wire) -> int:
    """Returns the bytes that count as waiting: answers do not, as the client is not asked for more."""
    return 0 if frame.answers else len(frame.wire)


def _close_frame(code: int) -> Wire:
    return Wire(frame_head(CLOSE, 2) + code.to_bytes(2, "big"))
