"""Frames to clients: each packet is encoded once, for all who get it and for both transports."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import orjson

_EVENT: Final = "2"
_ACK: Final = "3"
_SHORT: Final = 126
_MEDIUM: Final = 65_536


class Wire:
    """Bytes that go out over a WebSocket as they are.

    Attributes:
        wire: the bytes.
        answers: it answers what the client asked: how much of it waits is bounded by how much is asked.
        droppable: a client that is slow to read may go without it.
    """

    __slots__ = ("answers", "droppable", "wire")

    def __init__(self, wire: bytes, *, answers: bool = False, droppable: bool = False) -> None:
        self.wire = wire
        self.answers = answers
        self.droppable = droppable


class Frame(Wire):
    """A Socket.IO packet, ready to be sent to any number of connections.

    Attributes:
        text: the packet, as the data of an Engine.IO message; `wire` is the WebSocket frame that carries it.
    """

    __slots__ = ("text",)

    def __init__(self, text: str, *, answers: bool = False, droppable: bool = False) -> None:
        super().__init__(text_frame(b"4" + text.encode()), answers=answers, droppable=droppable)
        self.text = text


class Burst(Wire):
    """Events that go to the same connections, one after the other; none of them is droppable."""

    __slots__ = ("frames",)

    def __init__(self, frames: Sequence[Frame]) -> None:
        super().__init__(b"".join([frame.wire for frame in frames]))
        self.frames = frames


def event_frame(name: str, body: bytes, *, droppable: bool = False) -> Frame:
    """Returns the frame of an event whose one argument is the JSON `body`, taken as it is.

    Raises:
        UnicodeDecodeError: `body` is not UTF-8.
    """
    return Frame(f"{_opening(name)}{body.decode()}]", droppable=droppable)


def ack_frame(number: int, body: bytes) -> Frame:
    """Returns the acknowledgement of the client's packet `number` with one argument, the JSON `body`."""
    return Frame(f"{_ACK}{number}[{body.decode()}]", answers=True)


@lru_cache(maxsize=256)
def _opening(name: str) -> str:
    return f"{_EVENT}[{orjson.dumps(name).decode()},"


def text_frame(payload: bytes) -> bytes:
    """Returns an unfragmented, unmasked text frame (RFC 6455, section 5.2)."""
    return frame_head(0x1, len(payload)) + payload


def frame_head(opcode: int, size: int) -> bytes:
    """Returns the head of a server's frame with a payload of `size` bytes: the three forms of its length."""
    if size < _SHORT:
        return bytes((0x80 | opcode, size))
    if size < _MEDIUM:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big")
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big")
