"""Deliveries taken straight from a connection's bytes.

aiormq makes three frame objects, nine awaits and a task of each message that it delivers. A gateway, whose
work is little else, has its messages from here; every other frame goes on to aiormq, which keeps the
connection. Frames, and the order in which they come, are as in AMQP 0-9-1, sections 2.3.5 and 4.2.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from struct import Struct
from time import monotonic
from typing import Any, Final

import aiormq
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

Receive = Callable[[int, bytes, bytes], None]
"""Takes one message: its delivery tag, the payload of its content header frame, its body."""

_METHOD: Final = 1
_HEADER: Final = 2
_BODY: Final = 3
_HEARTBEAT: Final = 8
_FRAME_TYPES: Final = frozenset({_METHOD, _HEADER, _BODY, _HEARTBEAT})
_FRAME: Final = Struct(">BHI")
_FRAME_END: Final = 0xCE
_SILENT_HEARTBEAT: Final = _FRAME.pack(_HEARTBEAT, 0, 0) + bytes([_FRAME_END])
_DELIVER: Final = (60).to_bytes(2) + (60).to_bytes(2)
_TAG_AT: Final = len(_DELIVER) + 1
_LONG_LONG: Final = Struct(">Q")
_BODY_SIZE_AT: Final = 4

_SLICE_SECONDS: Final = 0.005
"""How long messages are handled before others have their turn."""
_HEARTBEAT_SECONDS: Final = 1.0


class DeliveryProtocol(asyncio.StreamReaderProtocol):
    """The reading side of a connection: what is delivered on one channel goes to a function."""

    def __init__(self, reader: asyncio.StreamReader, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reader, loop=loop)
        self._slices = loop
        self._channel = -1
        self._receive: Receive | None = None
        self._rest = b""
        self._framed = True
        self._delivery: _Delivery | None = None
        self._due: deque[tuple[int, bytes, bytes]] = deque()
        self._sliced = False
        self._heard = monotonic()

    def take(self, channel: int, receive: Receive) -> None:
        """From now on `receive` gets what is delivered on that channel, in order."""
        self._channel, self._receive = channel, receive

    def release(self) -> None:
        """What is not handled yet never will be: it is not acknowledged either."""
        self._receive = None
        self._due.clear()

    def data_received(self, data: bytes) -> None:
        """Called with what has been read."""
        if not self._framed:
            super().data_received(data)
            return
        others = self._sift(self._rest + data if self._rest else data)
        if others:
            self._heard = monotonic()
            super().data_received(others)
        if self._due and not self._sliced:
            self._handle()

    def _sift(self, data: bytes) -> bytes:
        """Takes the deliveries out of these bytes; the other whole frames."""
        others: list[bytes] = []
        start = at = 0  # what is between the two is for aiormq
        while len(data) - at >= _FRAME.size:
            kind, channel, size = _FRAME.unpack_from(data, at)
            end = at + _FRAME.size + size + 1
            if kind not in _FRAME_TYPES or (end <= len(data) and data[end - 1] != _FRAME_END):
                # No AMQP, or not this version of it; aiormq says what it is.
                self._framed, at = False, len(data)
                break
            if end > len(data):
                break
            if channel == self._channel and self._is_delivery(kind, data[at + _FRAME.size : end - 1]):
                others.append(data[start:at])
                start = end
            at = end
        others.append(data[start:at])
        self._rest = data[at:]
        if self._due and monotonic() >= self._heard + _HEARTBEAT_SECONDS:
            # The broker sends no heartbeats while it sends messages, and aiormq sees none of these.
            others.append(_SILENT_HEARTBEAT)
        return b"".join(others)

    def _is_delivery(self, kind: int, payload: bytes) -> bool:
        """Takes a frame of the channel, if it is part of a delivery."""
        if kind == _METHOD:
            if not payload.startswith(_DELIVER):
                return False
            (tag,) = _LONG_LONG.unpack_from(payload, _TAG_AT + payload[len(_DELIVER)])
            self._delivery = _Delivery(tag)
            return True
        if self._delivery is None:
            return False
        if self._delivery.is_whole_with(kind, payload):
            self._due.append((self._delivery.tag, self._delivery.header, b"".join(self._delivery.body)))
            self._delivery = None
        return True

    def _handle(self) -> None:
        self._sliced = False
        until = monotonic() + _SLICE_SECONDS
        while self._due and self._receive is not None:
            self._receive(*self._due.popleft())
            if self._due and monotonic() >= until:
                self._sliced = True
                self._slices.call_soon(self._handle)
                return


class _Delivery:
    """A message of which not every frame is there yet."""

    __slots__ = ("_missing", "body", "header", "tag")

    def __init__(self, tag: int) -> None:
        self.tag = tag
        self.header = b""
        self.body: list[bytes] = []
        self._missing = 0

    def is_whole_with(self, kind: int, payload: bytes) -> bool:
        """Takes the next frame of it; whether that was the last."""
        if kind == _HEADER:
            self.header = payload
            (self._missing,) = _LONG_LONG.unpack_from(payload, _BODY_SIZE_AT)
        else:
            self.body.append(payload)
            self._missing -= len(payload)
        return self._missing <= 0


class Deliveries(aiormq.TransportFactory):
    """Makes the transports of one link after the other, and has what is delivered over the last."""

    def __init__(self) -> None:
        self._protocol: DeliveryProtocol | None = None

    @contextmanager
    def to(self, receive: Receive, *, channel: int) -> Iterator[None]:
        """Meanwhile `receive` gets what is delivered on a channel of the link, in order.

        What it has not got in the end it never will; nobody has acknowledged it either.
        """
        protocol = self._protocol
        if protocol is None:
            raise RuntimeError("the link was not made by these transports")
        protocol.take(channel, receive)
        try:
            yield
        finally:
            protocol.release()

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connects; called by aiormq.

        Raises:
            AMQPConnectionError: nobody is there.
        """
        contexts = kwargs.pop("ssl_context_provider")
        context = await contexts.get_context() if url.scheme == "amqps" else None
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = DeliveryProtocol(reader, loop=loop)
        try:
            transport, _ = await loop.create_connection(
                lambda: protocol, url.host or "", url.port or 0, ssl=context, **kwargs
            )
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        self._protocol = protocol
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
