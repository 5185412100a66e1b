"""Reads a client's WebSocket frames (RFC 6455, section 5): bytes in any pieces in, whole messages out.

It knows no transport. What no client may send ends the reading with the close code that says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

NORMAL: Final = 1000
PROTOCOL_ERROR: Final = 1002
NOT_UTF8: Final = 1007
FLOODED: Final = 1008
TOO_BIG: Final = 1009

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
_KNOWN: Final = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})
_LONGEST_CONTROL: Final = 125


class FrameError(Exception):
    """Bytes that no client may send; `code` is the close code (RFC 6455, section 7.4.1)."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class ControlFrame:
    """A close, a ping or a pong."""

    opcode: int
    payload: bytes


class FrameReader:
    """The reading end of one WebSocket; no message may be longer than `max_message` bytes.

    Attributes:
        discarding: messages are passed over, as nobody takes them any more; control frames are not.
    """

    __slots__ = ("_fragments", "_max_message", "_needed", "_rest", "discarding")

    def __init__(self, max_message: int) -> None:
        self.discarding = False
        self._max_message = max_message
        self._rest: bytearray | None = None
        self._needed = 2
        self._fragments: tuple[int, bytearray] | None = None

    def read(self, data: bytes) -> Iterator[str | bytes | ControlFrame | None]:
        """Yields one thing for each frame that is complete with `data`; keeps the beginning of the next.

        A text message is a `str`, a binary one `bytes`; None is a fragment that completes no message. What
        is left when the iteration is given up is forgotten.

        Raises:
            FrameError: what follows cannot be understood, and is forgotten.
        """
        if self._rest is not None:
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data, self._rest = bytes(self._rest), None
        at = 0
        while True:
            there = len(data) - at
            if there < 2:
                needed = 2
                break
            first, second = data[at], data[at + 1]
            size, head = second & 0x7F, 6
            self._check_head(first, second)
            if size >= 126:
                head = 8 if size == 126 else 14
                if there < head:
                    needed = head
                    break
                size = int.from_bytes(data[at + 2 : at + head - 4], "big")
            if size + (len(self._fragments[1]) if self._fragments else 0) > self._max_message:
                raise FrameError(TOO_BIG)
            needed = head + size
            if there < needed:
                break
            start, at = at + head, at + needed
            yield self._completed(first, _unmasked(data[start:at], data[start - 4 : start]))
        if at < len(data):
            self._needed = needed
            self._rest = bytearray(data[at:])

    def clear(self) -> None:
        """Forgets what has come of frames and messages that are not complete."""
        self._rest = self._fragments = None

    def _check_head(self, first: int, second: int) -> None:
        opcode = first & 0x0F
        if first & 0x70 or not second & 0x80 or opcode not in _KNOWN:
            raise FrameError(PROTOCOL_ERROR)
        if opcode >= CLOSE:
            if not first & 0x80 or second & 0x7F > _LONGEST_CONTROL:
                raise FrameError(PROTOCOL_ERROR)
        elif (opcode == CONTINUATION) != (self._fragments is not None):
            raise FrameError(PROTOCOL_ERROR)

    def _completed(self, first: int, payload: bytes) -> str | bytes | ControlFrame | None:
        """Returns the message that a frame completes, or the frame if it is a control frame."""
        opcode, final = first & 0x0F, first & 0x80
        if opcode >= CLOSE:
            return ControlFrame(opcode, payload)
        if self.discarding:
            return None
        if self._fragments is not None:
            opcode, whole = self._fragments
            whole += payload
            if not final:
                return None
            self._fragments = None
            payload = bytes(whole)
        elif not final:
            self._fragments = (opcode, bytearray(payload))
            return None
        if opcode == BINARY:
            return payload
        try:
            return payload.decode()
        except UnicodeDecodeError:
            raise FrameError(NOT_UTF8) from None


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    if not size:
        return b""
    keys = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(keys, "little")).to_bytes(size, "little")
