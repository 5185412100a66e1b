"""Parses requests to open a WebSocket (RFC 6455, section 4.2), and answers them.

Only what a Socket.IO client sends is taken. Anything else goes to aiohttp as it came, which refuses it where
it has to: two readings of one request are how requests are smuggled.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

_ACCEPT_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_REQUEST_LINE: Final = re.compile(rb"GET /socket\.io/?\?([!-~]*) HTTP/1\.1\Z")
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*?)[ \t]*\Z")
_SINGLE: Final = frozenset(
    {b"upgrade", b"connection", b"sec-websocket-key", b"sec-websocket-version", b"origin", b"host"}
)
_WITH_BODY: Final = frozenset({b"content-length", b"transfer-encoding", b"expect"})


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """A request to open a WebSocket.

    Attributes:
        key: `Sec-WebSocket-Key`.
        origin: the `Origin` header, or None.
        forwarded: the `X-Forwarded-For` header, or "".
        eio_sid: the Engine.IO session that shall go on over it, or "" for a new one.
    """

    key: bytes
    origin: str | None
    forwarded: str
    eio_sid: str


def parse_upgrade(head: bytes) -> UpgradeRequest | None:
    """Returns what a request asks for, if it is a WebSocket for Engine.IO 4 and nothing is odd about it.

    Args:
        head: the HTTP request's, up to and without the empty line.
    """
    line, *rest = head.split(b"\r\n")
    asked = _REQUEST_LINE.match(line)
    if asked is None:
        return None
    fields = _fields(asked[1].decode())
    if fields is None or fields.get("transport") != "websocket" or "j" in fields:
        return None
    if not fields.get("sid") and fields.get("EIO") != "4":
        return None
    headers = _headers(rest)
    if headers is None or not _asks_for_websocket(headers):
        return None
    origin = headers.get(b"origin")
    return UpgradeRequest(
        key=headers[b"sec-websocket-key"],
        origin=None if origin is None else origin.decode("latin-1"),
        forwarded=headers.get(b"x-forwarded-for", b"").decode("latin-1"),
        eio_sid=fields.get("sid", ""),
    )


def _fields(query: str) -> dict[str, str] | None:
    """Returns the fields of a query, unless one comes twice."""
    if "%" in query or "+" in query:
        pairs = parse_qsl(query, keep_blank_values=True)
    else:  # what clients send, at a tenth of the price
        pairs = [(name, value) for name, _, value in (each.partition("=") for each in query.split("&"))]
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else None


def _headers(lines: list[bytes]) -> dict[bytes, bytes] | None:
    headers: dict[bytes, bytes] = {}
    for line in lines:
        parts = _HEADER.match(line)
        if parts is None:
            return None
        name = parts[1].lower()
        if name in headers and name in _SINGLE:
            return None
        headers[name] = parts[2] if name not in headers else headers[name] + b", " + parts[2]
    return headers


def _asks_for_websocket(headers: dict[bytes, bytes]) -> bool:
    tokens = {token.strip() for token in headers.get(b"connection", b"").lower().split(b",")}
    try:
        nonce = base64.b64decode(headers.get(b"sec-websocket-key", b""), validate=True)
    except binascii.Error:
        return False
    return (
        headers.get(b"upgrade", b"").lower() == b"websocket"
        and b"upgrade" in tokens
        and headers.get(b"sec-websocket-version") == b"13"
        and len(nonce) == 16
        and not headers.keys() & _WITH_BODY
        and b"host" in headers
    )


def accept_response(key: bytes) -> bytes:
    """Returns the answer that opens a WebSocket (RFC 6455, section 4.2.2)."""
    digest = hashlib.sha1(key + _ACCEPT_GUID, usedforsecurity=False).digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    )
