"""Encodes and parses the few frames of WebSocket, Engine.IO and Socket.IO that load clients need.

WebSocket: RFC 6455. Engine.IO protocol 4, Socket.IO protocol 5: https://socket.io/docs/v4/engine-io-protocol/
"""

import json
from collections.abc import Iterator
from typing import Final

UPGRADE: Final = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
HEAD_END: Final = b"\r\n\r\n"
PING: Final = b"\x81\x012"
PONG: Final = b"\x81\x81\x00\x00\x00\x003"
STAMP: Final = b'"content":"@'
STAMP_DIGITS: Final = 19
"""A message's text begins with when it was sent, in nanoseconds of the monotonic clock."""
ENDS: Final = {"messages": b'"deletedAt":null}]', "replies": b'"isFinal":true}]'}
"""How the frames that are counted end, and no others: a `new-msg`; the last `ai-chunk` of a reply."""

_TEXT: Final = 0x81
_MASKED: Final = 0x80
_NO_MASK: Final = b"\x00\x00\x00\x00"


def stamped(sent: int, words: str) -> str:
    """Returns a message's text that begins with when it was sent."""
    return f"@{sent:0{STAMP_DIGITS}} {words}"


def text_frame(text: str) -> bytes:
    """Returns a client's text frame; its mask is zero, which is allowed and costs nobody anything."""
    body = text.encode()
    if len(body) < 126:
        head = bytes((_TEXT, _MASKED | len(body)))
    else:
        head = bytes((_TEXT, _MASKED | 126)) + len(body).to_bytes(2, "big")
    return head + _NO_MASK + body


def connect_frame(token: str) -> bytes:
    """Returns the frame that asks for a socket in the namespace `/`."""
    return text_frame("40" + json.dumps({"token": token}))


def join_frame(number: int, chat_id: str) -> bytes:
    """Returns the frame of `join-chat` with the acknowledgement id `number`."""
    return text_frame(f'42{number}["join-chat","{chat_id}"]')


def frames_in(data: bytearray) -> Iterator[bytes]:
    """Takes the whole frames off the front of `data` and yields their payloads."""
    while len(data) >= 2:
        length, start = data[1] & 0x7F, 2
        if length > 125:
            start = 4 if length == 126 else 10
            length = int.from_bytes(data[2:start], "big")
        if len(data) < start + length:
            return
        payload = bytes(data[start : start + length])
        del data[: start + length]
        yield payload
