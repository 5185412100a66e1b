"""Where TCP connections come in: WebSockets for Socket.IO are taken from here, aiohttp gets everything else.

An HTTP request that is not exactly what a Socket.IO client sends to open a WebSocket goes to aiohttp as it
came, which refuses it where it has to: this file only ever says yes.
"""

import asyncio
import base64
import binascii
import hashlib
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import parse_qsl

from shared.http import health as ops
from shared.http.proxies import Proxies
from ws_gateway.engine.server import Engine
from ws_gateway.listener.handshake_limits import Refusal
from ws_gateway.listener.http_connections import HttpConnection, HttpConnections
from ws_gateway.metrics import HANDSHAKE_TIMEOUT, LIMITED
from ws_gateway.transport.websocket import WebSocket

MAX_UNSENT_BYTES: Final = 128 * 1024
"""What the kernel takes for a client beyond what is on its way: it would take megabytes of a slow one."""
UNSENT_OPTION: Final[int | None] = getattr(socket, "TCP_NOTSENT_LOWAT", None)
MAX_HEAD_BYTES: Final = 16 * 1024
FAREWELL_SECONDS: Final = 1.0
"""How long who is turned away has to read why."""
OPERATOR_SECONDS: Final = 0.25
"""How long who shall be turned away has to ask for one of the operational paths."""

_ACCEPT_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_REQUEST_LINE: Final = re.compile(rb"GET /socket\.io/?\?([!-~]*) HTTP/1\.1\Z")
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*?)[ \t]*\Z")
_OPERATOR: Final = tuple(f"GET {path} HTTP/1.1\r\n".encode() for path in sorted(ops.PATHS))
_SINGLE: Final = frozenset(
    {b"upgrade", b"connection", b"sec-websocket-key", b"sec-websocket-version", b"origin", b"host"}
)
_WITH_BODY: Final = frozenset({b"content-length", b"transfer-encoding", b"expect"})


@dataclass(frozen=True, slots=True)
class Opening:
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


def opening_of(head: bytes) -> Opening | None:
    """What an HTTP request's head asks for, if it is a WebSocket for Engine.IO 4 and nothing is odd about it.

    Args:
        head: up to and without the empty line.
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
    return Opening(
        key=headers[b"sec-websocket-key"],
        origin=None if origin is None else origin.decode("latin-1"),
        forwarded=headers.get(b"x-forwarded-for", b"").decode("latin-1"),
        eio_sid=fields.get("sid", ""),
    )


def _fields(query: str) -> dict[str, str] | None:
    """The fields of a query, unless one comes twice."""
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


def acceptance(key: bytes) -> bytes:
    """The answer that opens a WebSocket (RFC 6455, section 4.2.2)."""
    digest = hashlib.sha1(key + _ACCEPT_GUID, usedforsecurity=False).digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """What doors lead into.

    Attributes:
        of_aiohttp: makes the protocol that serves what is no WebSocket.
        may_open: whether a client at this address may have a new session now; aiohttp tells it why not.
        seconds: a client has them for its first request.
    """

    engine: Engine
    of_aiohttp: Callable[[], asyncio.Protocol]
    connections: HttpConnections
    proxies: Proxies
    may_open: Callable[[str], bool]
    seconds: float


class TcpConnection(asyncio.Protocol):
    """One TCP connection until it is known what it is for."""

    __slots__ = ("_head", "_peer", "_refused", "_routes", "_timer", "_transport")

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._head = b""
        self._peer = ""
        self._transport: asyncio.Transport | None = None
        self._refused: tuple[asyncio.Transport, Refusal] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        own = cast("asyncio.Transport", transport)
        self._peer = str((own.get_extra_info("peername") or ("",))[0])
        if (refusal := self._routes.connections.visitors.turned_away(self._peer)) is not None:
            self._refused = (own, refusal)
            self._timer = asyncio.get_running_loop().call_later(
                OPERATOR_SECONDS, self._turn_away, own, refusal
            )
            return
        self._come_in(own)

    def _come_in(self, own: asyncio.Transport) -> None:
        self._transport = own
        self._timer = asyncio.get_running_loop().call_later(self._routes.seconds, self._give_up)
        if (tcp := own.get_extra_info("socket")) is not None and UNSENT_OPTION is not None:
            with suppress(OSError):
                tcp.setsockopt(socket.IPPROTO_TCP, UNSENT_OPTION, MAX_UNSENT_BYTES)

    def _turn_away(self, transport: asyncio.Transport, refusal: Refusal) -> None:
        """Says why, whatever is asked; a close would take that back when a request comes then."""
        self._refused = None
        LIMITED.labels(refusal.code).inc()
        transport.write(refusal.wire())
        transport.write_eof()
        self._timer = asyncio.get_running_loop().call_later(FAREWELL_SECONDS, transport.abort)

    def _asks_as_operator(self, transport: asyncio.Transport, refusal: Refusal) -> None:
        """Lets in who is to be turned away, if it asks for an operational path; waits while it still may."""
        if any(line.startswith(self._head) for line in _OPERATOR):
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._head.startswith(_OPERATOR) and self._routes.connections.visitors.operator_came(self._peer):
            self._refused = None
            self._come_in(transport)
        else:
            self._turn_away(transport, refusal)

    def _give_up(self) -> None:
        LIMITED.labels(HANDSHAKE_TIMEOUT).inc()
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, _: Exception | None) -> None:
        """It went before it said what it wanted."""
        if self._refused is not None:
            LIMITED.labels(self._refused[1].code).inc()
            self._refused = None
        if self._done() is not None:
            self._routes.connections.visitors.left(self._peer)

    def data_received(self, data: bytes) -> None:
        """Waits for the whole head of the first request."""
        if self._transport is None and self._refused is None:
            return
        self._head += data
        if self._refused is not None:
            self._asks_as_operator(*self._refused)
        if self._transport is None:
            return
        end = self._head.find(b"\r\n\r\n")
        if end < 0 and len(self._head) < MAX_HEAD_BYTES:
            return
        transport = self._done()
        if transport is None:
            return
        opening = opening_of(self._head[:end]) if end >= 0 and self._routes.engine.direct else None
        websocket = None if opening is None else self._opened(transport, opening)
        if websocket is None:
            self._hand_over(transport)
        else:
            self._routes.connections.visitors.left(self._peer)
            if rest := self._head[end + 4 :]:
                websocket.data_received(rest)
        self._head = b""

    def _opened(self, transport: asyncio.Transport, opening: Opening) -> WebSocket | None:
        engine = self._routes.engine
        if opening.eio_sid:
            polled = engine.upgradable(opening.eio_sid)
            if polled is None:
                return None
            return engine.websockets.open_upgrade(transport, acceptance(opening.key), polling=polled)
        address = self._routes.proxies.behind(self._peer, opening.forwarded)
        if not self._routes.may_open(address):
            return None
        accepted = acceptance(opening.key)
        return engine.websockets.open(transport, accepted, origin=opening.origin, address=address)

    def _hand_over(self, transport: asyncio.Transport) -> None:
        routes = self._routes
        protocol = HttpConnection(routes.of_aiohttp(), all_=routes.connections, peer=self._peer)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(self._head)

    def _done(self) -> asyncio.Transport | None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        transport, self._transport = self._transport, None
        return transport
