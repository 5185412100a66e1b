"""Accepts TCP connections and sniffs the first request: WebSockets are opened here, the rest is aiohttp's.

An HTTP request that is not exactly what a Socket.IO client sends to open a WebSocket goes to aiohttp as it
came, which refuses it where it has to: this module only ever says yes.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, cast

from shared.http import health as ops
from shared.http.proxies import Proxies
from ws_gateway.engine.server import Engine
from ws_gateway.listener.http_connections import HttpConnection, HttpConnections
from ws_gateway.listener.refusal import Refusal
from ws_gateway.listener.websocket_upgrade import UpgradeRequest, accept_response, parse_upgrade
from ws_gateway.metrics import HANDSHAKE_TIMEOUT, LIMITED
from ws_gateway.transport.websocket import WebSocket

MAX_UNSENT_BYTES: Final = 128 * 1024
"""What the kernel takes for a client beyond what is on its way: it would take megabytes of a slow one."""
UNSENT_OPTION: Final[int | None] = getattr(socket, "TCP_NOTSENT_LOWAT", None)
MAX_HEAD_BYTES: Final = 16 * 1024
REFUSAL_SECONDS: Final = 1.0
"""How long a client that is refused has to read why."""
OPERATOR_SECONDS: Final = 0.25
"""How long a client that is to be refused has to ask for one of the operational paths."""

_OPERATOR: Final = tuple(f"GET {path} HTTP/1.1\r\n".encode() for path in sorted(ops.PATHS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """The protocols that an accepted connection is handed to, and who may have which.

    Attributes:
        of_aiohttp: makes the protocol that serves what is no WebSocket.
        may_open: returns whether a client at this address may have a new session now; where not, aiohttp's
            application tells it why.
        seconds: how long a client has for its first request.
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
        """Takes the connection in, if there is a place for it; prepares its refusal otherwise."""
        own = cast("asyncio.Transport", transport)
        self._peer = str((own.get_extra_info("peername") or ("",))[0])
        if (refusal := self._routes.connections.limit.take(self._peer)) is not None:
            self._refused = (own, refusal)
            self._timer = asyncio.get_running_loop().call_later(OPERATOR_SECONDS, self._refuse, own, refusal)
            return
        self._expect_request(own)

    def _expect_request(self, own: asyncio.Transport) -> None:
        self._transport = own
        self._timer = asyncio.get_running_loop().call_later(self._routes.seconds, self._give_up)
        if (tcp := own.get_extra_info("socket")) is not None and UNSENT_OPTION is not None:
            with suppress(OSError):
                tcp.setsockopt(socket.IPPROTO_TCP, UNSENT_OPTION, MAX_UNSENT_BYTES)

    def _refuse(self, transport: asyncio.Transport, refusal: Refusal) -> None:
        """Sends the refusal, whatever is asked; a close would take it back when a request comes then."""
        self._refused = None
        LIMITED.labels(refusal.code).inc()
        transport.write(refusal.wire())
        transport.write_eof()
        self._timer = asyncio.get_running_loop().call_later(REFUSAL_SECONDS, transport.abort)

    def _sniff_operator(self, transport: asyncio.Transport, refusal: Refusal) -> None:
        """Lets a refused client in if it asks for an operational path; waits while it still may."""
        if any(line.startswith(self._head) for line in _OPERATOR):
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._head.startswith(_OPERATOR) and self._routes.connections.limit.take_as_operator(self._peer):
            self._refused = None
            self._expect_request(transport)
        else:
            self._refuse(transport, refusal)

    def _give_up(self) -> None:
        LIMITED.labels(HANDSHAKE_TIMEOUT).inc()
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, _: Exception | None) -> None:
        """Gives back the place of a connection that is lost before its first request is complete."""
        if self._refused is not None:
            LIMITED.labels(self._refused[1].code).inc()
            self._refused = None
        if self._detach() is not None:
            self._routes.connections.limit.release(self._peer)

    def data_received(self, data: bytes) -> None:
        """Collects the head of the first request; hands the connection over when it is complete."""
        if self._transport is None and self._refused is None:
            return
        self._head += data
        if self._refused is not None:
            self._sniff_operator(*self._refused)
        if self._transport is None:
            return
        end = self._head.find(b"\r\n\r\n")
        if end < 0 and len(self._head) < MAX_HEAD_BYTES:
            return
        transport = self._detach()
        if transport is None:
            return
        request = parse_upgrade(self._head[:end]) if end >= 0 and self._routes.engine.direct else None
        websocket = None if request is None else self._opened(transport, request)
        if websocket is None:
            self._hand_over(transport)
        else:
            self._routes.connections.limit.release(self._peer)
            if rest := self._head[end + 4 :]:
                websocket.data_received(rest)
        self._head = b""

    def _opened(self, transport: asyncio.Transport, request: UpgradeRequest) -> WebSocket | None:
        engine = self._routes.engine
        if request.eio_sid:
            polling = engine.upgradable(request.eio_sid)
            if polling is None:
                return None
            return engine.websockets.open_upgrade(transport, accept_response(request.key), polling=polling)
        address = self._routes.proxies.behind(self._peer, request.forwarded)
        if not self._routes.may_open(address):
            return None
        accepted = accept_response(request.key)
        return engine.websockets.open(transport, accepted, origin=request.origin, address=address)

    def _hand_over(self, transport: asyncio.Transport) -> None:
        routes = self._routes
        protocol = HttpConnection(routes.of_aiohttp(), all_=routes.connections, peer=self._peer)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(self._head)

    def _detach(self) -> asyncio.Transport | None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        transport, self._transport = self._transport, None
        return transport
