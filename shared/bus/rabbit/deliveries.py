"""Deliveries taken straight from a connection's bytes.

aiormq makes three frame objects, nine awaits and a task of each message that it delivers. A gateway, whose
work is little else, has its messages from here.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from shared.bus.rabbit.frame_tap import LONG_LONG, METHOD, Content, FrameProtocol, Transports

Receive = Callable[[int, bytes, bytes], None]
"""Takes one message: its delivery tag, the payload of its content header frame, its body."""

_DELIVER: Final = (60).to_bytes(2) + (60).to_bytes(2)
_TAG_AT: Final = len(_DELIVER) + 1

_SLICE_SECONDS: Final = 0.005
"""How long messages are handled before others have their turn."""


class DeliveryProtocol(FrameProtocol):
    """The reading side of a connection: what is delivered on one channel goes to a function."""

    def __init__(self, reader: asyncio.StreamReader, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reader, loop=loop)
        self._event_loop = loop
        self._receive: Receive | None = None
        self._delivery: _Delivery | None = None
        self._due: deque[tuple[int, bytes, bytes]] = deque()
        self._sliced = False

    def deliver(self, channel: int, receive: Receive) -> None:
        """Hands all that is delivered on that channel to `receive`, in order, from now on."""
        self._channel, self._receive = channel, receive

    def stop(self) -> None:
        """Drops all that is not handled yet; none of it is acknowledged."""
        self._receive = None
        self._due.clear()

    def data_received(self, data: bytes) -> None:
        """Called with what has been read."""
        super().data_received(data)
        if self._due and not self._sliced:
            self._handle()

    def _accept(self, kind: int, payload: bytes) -> bool:
        if kind == METHOD:
            if not payload.startswith(_DELIVER):
                return False
            (tag,) = LONG_LONG.unpack_from(payload, _TAG_AT + payload[len(_DELIVER)])
            self._delivery = _Delivery(tag)
            return True
        if self._delivery is None:
            return False
        if self._delivery.add_frame(kind, payload):
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
                self._event_loop.call_soon(self._handle)
                return


class _Delivery(Content):
    """A message of which not every frame is there yet."""

    __slots__ = ("tag",)

    def __init__(self, tag: int) -> None:
        super().__init__()
        self.tag = tag


class Deliveries(Transports[DeliveryProtocol]):
    """Makes the transports of one link after the other, and hands on what is delivered over the last."""

    def __init__(self) -> None:
        super().__init__(lambda reader: DeliveryProtocol(reader, loop=asyncio.get_running_loop()))

    @contextmanager
    def to(self, receive: Receive, *, channel: int) -> Iterator[None]:
        """Hands what is delivered on a channel of the link to `receive`, in order, while the block runs.

        What it has not got in the end it never will; nobody has acknowledged it either.
        """
        protocol = self.latest
        protocol.deliver(channel, receive)
        try:
            yield
        finally:
            protocol.stop()
