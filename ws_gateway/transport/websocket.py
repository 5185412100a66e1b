"""The server's end of a WebSocket (RFC 6455), without extensions, straight on its TCP connection.

It has no task and no queue of its own. What is sent in one turn of the event loop is written at its end, in
one piece; what a client asks is handed on as it arrives. While the client does not take what is written to
it, nothing more is read from it, and what waits for it is bounded.
"""

import asyncio
import struct
from collections.abc import Iterator
from typing import Final, Protocol

from shared.http.rate_limit import TokenBucket
from ws_gateway.metrics import FLOODING, LIMITED, PAYLOAD_TOO_LARGE
from ws_gateway.transport.frames import Burst, Wire, frame_head

HIGH_WATER: Final = 64 * 1024
"""Bytes in the transport's buffer from which on frames wait here instead."""
CLOSE_SECONDS: Final = 5.0
"""How long a client has to answer the closing of its WebSocket."""
FLOODED_SECONDS: Final = 0.5
"""How long a client that floods has to read why it is cut off."""

NORMAL: Final = 1000
PROTOCOL_ERROR: Final = 1002
NOT_UTF8: Final = 1007
FLOODED: Final = 1008
TOO_BIG: Final = 1009
_LIMITS: Final = {FLOODED: FLOODING, TOO_BIG: PAYLOAD_TOO_LARGE}

_CONTINUATION: Final = 0x0
_TEXT: Final = 0x1
_BINARY: Final = 0x2
_CLOSE: Final = 0x8
_PING: Final = 0x9
_PONG: Final = 0xA
_KNOWN: Final = frozenset({_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG})
_LONGEST_CONTROL: Final = 125


class Owner(Protocol):
    """Who a WebSocket speaks for."""

    def received(self, data: str | bytes) -> None:
        """A message has come."""

    def slow(self, waiting: int) -> None:
        """More than may wait for the client does; nothing is queued to it any more."""

    def lost(self) -> None:
        """The WebSocket is no more; said once."""


class WebSockets:
    """All WebSockets; has them write what was sent to them when the current turn of the event loop ends.

    Attributes:
        none_left: no WebSocket is open.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due: list[WebSocket] = []
        self._open: set[WebSocket] = set()
        self.none_left = asyncio.Event()
        self.none_left.set()

    def opened(self, websocket: "WebSocket") -> None:
        """`websocket` is open."""
        self._open.add(websocket)
        self.none_left.clear()

    def lost(self, websocket: "WebSocket") -> None:
        """`websocket` is no more."""
        self._open.discard(websocket)
        if not self._open:
            self.none_left.set()

    def abort(self) -> None:
        """Cuts all that are open."""
        for websocket in list(self._open):
            websocket.abort()

    def write_soon(self, websocket: "WebSocket") -> None:
        """`websocket` has something to write."""
        if not self._due:
            self._loop.call_soon(self._flush)
        self._due.append(websocket)

    def _flush(self) -> None:
        due, self._due = self._due, []
        pieces = Pieces()
        for websocket in due:
            websocket.flush(pieces)


class WebSocket(asyncio.Protocol):
    """One client's WebSocket, from the answer to its upgrade request on.

    Attributes:
        owner: who gets what is received; may be replaced by another.
        closing: it takes nothing more and sends nothing more.
    """

    __slots__ = (
        "_all",
        "_fragments",
        "_frames",
        "_max_message",
        "_max_waiting",
        "_needed",
        "_paused",
        "_pending",
        "_rest",
        "_transport",
        "_waiting",
        "_writers",
        "closing",
        "owner",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        owner: Owner,
        *,
        all_: WebSockets,
        max_message: int,
        max_waiting: int,
        frames: TokenBucket | None = None,
    ) -> None:
        """Takes over a connection; sizes are in bytes. `frames` bounds how many the client may send."""
        self.owner = owner
        self.closing = False
        self._transport = transport
        self._all = all_
        self._max_message = max_message
        self._max_waiting = max_waiting
        self._frames = frames
        # Mostly it is one frame, and a list for each costs more than what the list is for.
        self._pending: Wire | list[Wire] | None = None
        self._paused = False
        self._waiting = 0
        self._writers: list[asyncio.Future[None]] = []
        self._rest: bytearray | None = None
        self._needed = 2
        self._fragments: tuple[int, bytearray] | None = None
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
            self._all.write_soon(self)
        elif isinstance(pending, list):
            pending.append(frame)
        else:
            self._pending = [pending, frame]
        if self._paused:
            self._bound(frame)

    def flush(self, pieces: "Pieces") -> None:
        """Writes what is queued, as long as the transport takes it."""
        pending = self._pending
        if self._paused or pending is None:
            return
        if not isinstance(pending, list):
            self._pending, self._waiting = None, 0
            self._transport.write(pending.wire)
            return
        written = 0
        for count, piece in pieces.of(pending):
            self._transport.write(piece)
            written += count
            if self._paused:
                break
        self._keep(pending[written:])
        if self._waiting > self._max_waiting:
            self._drop()

    async def writable(self) -> None:
        """Returns when the client takes what is written to it, or is no more."""
        while self._paused and not self.closing:
            writer = asyncio.get_running_loop().create_future()
            self._writers.append(writer)
            await writer

    def pause_writing(self) -> None:
        """The client does not read as fast as it is written to: it is not asked for more either."""
        self._paused = True
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """What was written is on its way."""
        self._paused = False
        self.flush(Pieces())
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

    def _bound(self, frame: Wire) -> None:
        self._waiting += _counted(frame)
        if self._waiting > self._max_waiting:
            self._drop()

    def _drop(self) -> None:
        """Does without what may be done without; where that is not enough, the client is too slow."""
        pending = self._pending if isinstance(self._pending, list) else [self._pending]
        self._keep([each for each in pending if each is not None and not each.droppable])
        if self._waiting > self._max_waiting:
            waiting, self.closing = self._waiting, True
            self.owner.slow(waiting)

    def _keep(self, pending: list[Wire]) -> None:
        self._pending = pending or None
        self._waiting = sum(map(_counted, pending))

    def close(self, code: int = NORMAL) -> None:
        """Says goodbye after what is queued; the connection ends when the client has answered, or is cut."""
        if self.closing:
            return
        self.send(_close_frame(code))
        self.closing = True
        self.flush(Pieces())
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.abort)

    def abort(self) -> None:
        """Cuts the connection."""
        self._pending = None
        self.closing = True
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
        """Takes the frames that are complete; keeps the beginning of the next."""
        if self._rest is not None:
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data, self._rest = bytes(self._rest), None
        at = 0
        try:
            while (size := self._take(data, at)) is not None:
                at += size
                if self._frames is not None and not self._frames.take():
                    raise _BadFrameError(FLOODED)
        except _BadFrameError as error:
            self._fail(error.code)
            return
        if at < len(data):
            self._rest = bytearray(data[at:])

    def connection_lost(self, _: Exception | None) -> None:
        """The connection is no more."""
        self.closing = True
        self._pending = self._rest = self._fragments = None
        self._wake_writers()
        self._all.lost(self)
        owner, self.owner = self.owner, _NOBODY
        owner.lost()

    def _take(self, data: bytes, at: int) -> int | None:
        """Handles the frame at `at`; its size, or None when it is not all there."""
        there = len(data) - at
        if there < 2:
            self._needed = 2
            return None
        first, second = data[at], data[at + 1]
        size, head = second & 0x7F, 6
        self._check_head(first, second)
        if size >= 126:
            head = 8 if size == 126 else 14
            if there < head:
                self._needed = head
                return None
            size = int.from_bytes(data[at + 2 : at + head - 4], "big")
        if size + (len(self._fragments[1]) if self._fragments else 0) > self._max_message:
            raise _BadFrameError(TOO_BIG)
        whole = head + size
        if there < whole:
            self._needed = whole
            return None
        mask = data[at + head - 4 : at + head]
        self._handle(first, _unmasked(data[at + head : at + whole], mask))
        return whole

    def _check_head(self, first: int, second: int) -> None:
        opcode = first & 0x0F
        if first & 0x70 or not second & 0x80 or opcode not in _KNOWN:
            raise _BadFrameError(PROTOCOL_ERROR)
        if opcode >= _CLOSE:
            if not first & 0x80 or second & 0x7F > _LONGEST_CONTROL:
                raise _BadFrameError(PROTOCOL_ERROR)
        elif (opcode == _CONTINUATION) != (self._fragments is not None):
            raise _BadFrameError(PROTOCOL_ERROR)

    def _handle(self, first: int, payload: bytes) -> None:
        opcode = first & 0x0F
        if opcode >= _CLOSE:
            self._control(opcode, payload)
        elif self.closing:
            pass
        elif first & 0x80 and self._fragments is None:
            self._message(opcode, payload)
        elif self._fragments is None:
            self._fragments = (opcode, bytearray(payload))
        else:
            opcode, whole = self._fragments
            whole += payload
            if first & 0x80:
                self._fragments = None
                self._message(opcode, bytes(whole))

    def _message(self, opcode: int, payload: bytes) -> None:
        if opcode == _BINARY:
            self.owner.received(payload)
            return
        try:
            text = payload.decode()
        except UnicodeDecodeError:
            raise _BadFrameError(NOT_UTF8) from None
        self.owner.received(text)

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self.send(Wire(frame_head(_PONG, len(payload)) + payload))
        elif opcode == _CLOSE:
            code = NORMAL if len(payload) < 2 else struct.unpack_from("!H", payload)[0]
            if not self.closing:
                self.send(_close_frame(code if 1000 <= code < 5000 else PROTOCOL_ERROR))
                self.closing = True
                self.flush(Pieces())
            self._transport.close()

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


class _BadFrameError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Nobody:
    def received(self, data: str | bytes) -> None: ...

    def slow(self, waiting: int) -> None: ...

    def lost(self) -> None: ...


_NOBODY: Final = _Nobody()


class Pieces:
    """Joins what waits for WebSockets, for those in a row for which the same does only once."""

    def __init__(self) -> None:
        self._frames: list[Wire] = []
        self._pieces: list[tuple[int, bytes]] = []

    def of(self, frames: list[Wire]) -> list[tuple[int, bytes]]:
        """Pieces of about `HIGH_WATER` bytes: how many of `frames` each holds, and their bytes."""
        if frames != self._frames:
            self._frames = frames.copy()
            self._pieces = list(_joined(frames))
        return self._pieces


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


def _counted(frame: Wire) -> int:
    """What waits counts for: answers are bounded by how much is asked, and asking waits."""
    return 0 if frame.answers else len(frame.wire)


def _close_frame(code: int) -> Wire:
    return Wire(frame_head(_CLOSE, 2) + code.to_bytes(2, "big"))


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    if not size:
        return b""
    keys = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(keys, "little")).to_bytes(size, "little")
