"""A tap on a connection's bytes: wanted AMQP frames are taken out, the rest goes on to aiormq.

aiormq makes a frame object, several awaits and often a task of each frame. Where nearly all frames of a link
are of one kind, they are taken here; aiormq, which keeps the connection, never sees them. Frames, and the
order in which they come, are as in AMQP 0-9-1, sections 2.3.5 and 4.2.
"""

import asyncio
from collections.abc import Callable
from struct import Struct
from time import monotonic
from typing import Any, Final, Generic, TypeVar

import aiormq
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

P = TypeVar("P", bound="FrameProtocol")

METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3
_HEARTBEAT: Final = 8
_FRAME_TYPES: Final = frozenset({METHOD, HEADER, BODY, _HEARTBEAT})
FRAME: Final = Struct(">BHI")
"""A frame's type, channel and size of payload, which an octet follows: `FRAME_END`."""
_END: Final = 0xCE
FRAME_END: Final = bytes([_END])
LONG_LONG: Final = Struct(">Q")
_BODY_SIZE_AT: Final = 4
_SILENT_HEARTBEAT: Final = FRAME.pack(_HEARTBEAT, 0, 0) + FRAME_END

HEARTBEAT_SECONDS: Final = 1.0


class FrameProtocol(asyncio.StreamReaderProtocol):
    """The reading side of a connection: frames of one channel that are wanted are taken, others pass on."""

    def __init__(self, reader: asyncio.StreamReader, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reader, loop=loop)
        self._channel = -1
        self._rest = b""
        self._framed = True
        self._heard = monotonic()

    def _accept(self, kind: int, payload: bytes) -> bool:
        """Takes a frame of the channel if it is wanted; returns whether it was."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        """Called with what has been read."""
        if not self._framed:
            super().data_received(data)
            return
        others = self._sift(self._rest + data if self._rest else data)
        if others:
            self._heard = monotonic()
            super().data_received(others)

    def _sift(self, data: bytes) -> bytes:
        """Takes what is wanted out of these bytes; returns the other whole frames."""
        others: list[bytes] = []
        start = at = 0  # what is between the two is for aiormq
        taken = False
        while len(data) - at >= FRAME.size:
            kind, channel, size = FRAME.unpack_from(data, at)
            end = at + FRAME.size + size + 1
            if kind not in _FRAME_TYPES or (end <= len(data) and data[end - 1] != _END):
                # No AMQP, or not this version of it; aiormq says what it is.
                self._framed, at = False, len(data)
                break
            if end > len(data):
                break
            if channel == self._channel and self._accept(kind, data[at + FRAME.size : end - 1]):
                taken = True
                others.append(data[start:at])
                start = end
            at = end
        others.append(data[start:at])
        self._rest = data[at:]
        if taken and monotonic() >= self._heard + HEARTBEAT_SECONDS:
            # The broker sends no heartbeats while it sends other frames, and aiormq sees none of these.
            others.append(_SILENT_HEARTBEAT)
        return b"".join(others)


class Content:
    """A message that comes in frames: the payload of its content header, and the parts of its body."""

    __slots__ = ("_missing", "body", "header")

    def __init__(self) -> None:
        self.header = b""
        self.body: list[bytes] = []
        self._missing = 0

    def add_frame(self, kind: int, payload: bytes) -> bool:
        """Adds the next frame; returns whether that was the last."""
        if kind == HEADER:
            self.header = payload
            (self._missing,) = LONG_LONG.unpack_from(payload, _BODY_SIZE_AT)
        else:
            self.body.append(payload)
            self._missing -= len(payload)
        return self._missing <= 0


class Transports(aiormq.TransportFactory, Generic[P]):
    """Makes the transports of one link after the other, with reading sides of one kind."""

    def __init__(self, protocol: Callable[[asyncio.StreamReader], P]) -> None:
        self._make = protocol
        self._made: P | None = None

    @property
    def latest(self) -> P:
        """Returns the reading side of the last link."""
        if self._made is None:
            raise RuntimeError("the link was not made by these transports")
        return self._made

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connects; called by aiormq.

        Raises:
            AMQPConnectionError: nobody is there.
        """
        contexts = kwargs.pop("ssl_context_provider")
        context = await contexts.get_context() if url.scheme == "amqps" else None
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = self._make(reader)
        try:
            transport, _ = await loop.create_connection(
                lambda: protocol, url.host or "", url.port or 0, ssl=context, **kwargs
            )
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        self._made = protocol
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
