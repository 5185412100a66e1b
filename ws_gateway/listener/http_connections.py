"""The TCP connections on which aiohttp answers: idle or not, and cut when their clients take nothing."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import structlog

from ws_gateway.listener.connection_limits import ConnectionLimit
from ws_gateway.metrics import LIMITED, SLOW_CONSUMERS

log = structlog.get_logger()


class HttpConnections:
    """All connections that aiohttp serves: one timer looks at them now and then.

    A connection is cut when nothing of what waits in it has gone out for `seconds`, twice that at most:
    aiohttp would wait for ever.
    """

    def __init__(self, limit: ConnectionLimit, *, seconds: float) -> None:
        self.limit = limit
        self._seconds = seconds
        self._open: dict[asyncio.BaseTransport, HttpConnection] = {}
        self._timer: asyncio.TimerHandle | None = None

    def opened(self, transport: asyncio.BaseTransport, connection: "HttpConnection") -> None:
        """Adds a connection that is open."""
        self._open[transport] = connection
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._look)

    def lost(self, transport: asyncio.BaseTransport) -> None:
        """Forgets the connection over `transport`, which is no more."""
        del self._open[transport]

    @contextmanager
    def answering(self, transport: asyncio.BaseTransport | None) -> Iterator[None]:
        """Marks the connection over `transport` busy while the block runs, which answers a request."""
        connection = None if transport is None else self._open.get(transport)
        if connection is not None:
            self.limit.mark_busy(connection)
        try:
            yield
        finally:
            if connection is not None and connection.open:
                self.limit.mark_idle(connection)

    @contextmanager
    def may_be_websocket(self, transport: asyncio.BaseTransport | None) -> Iterator[None]:
        """Gives back the place of a connection while the block runs, in which it may be a WebSocket."""
        connection = None if transport is None else self._open.get(transport)
        if connection is not None:
            connection.release()
        try:
            yield
        finally:
            if connection is not None:
                connection.take_again()

    def _look(self) -> None:
        for connection in list(self._open.values()):
            if connection.stuck():
                log.warning("http.slow_consumer")
                SLOW_CONSUMERS.inc()
                LIMITED.labels("slow_consumer").inc()
                connection.abort()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._seconds, self._look) if self._open else None


class HttpConnection(asyncio.Protocol):
    """One connection, which `protocol` of aiohttp serves, and its place.

    Attributes:
        peer: the address of its other end.
        open: it has its place; not while it is, or may become, a WebSocket.
    """

    __slots__ = ("_all", "_protocol", "_transport", "_unsent", "open", "peer")

    def __init__(self, protocol: asyncio.Protocol, *, all_: HttpConnections, peer: str) -> None:
        self.peer = peer
        self.open = True
        self._protocol = protocol
        self._all = all_
        self._transport: asyncio.Transport | None = None
        self._unsent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Adds itself to all, idle, and begins aiohttp's protocol."""
        self._transport = cast("asyncio.Transport", transport)
        self._all.opened(transport, self)
        self._all.limit.mark_idle(self)
        self._protocol.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Gives its place back and ends aiohttp's protocol."""
        if self._transport is not None:
            self._all.lost(self._transport)
            self._transport = None
        self.release()
        self._protocol.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Passes data on to aiohttp."""
        self._protocol.data_received(data)

    def eof_received(self) -> bool | None:
        """Passes on that no more comes."""
        return self._protocol.eof_received()

    def pause_writing(self) -> None:
        """Passes on that enough waits."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Passes on that more may come."""
        self._protocol.resume_writing()

    def stuck(self) -> bool:
        """Returns whether as much waits to go out as at the last call; never of open WebSockets."""
        before, self._unsent = self._unsent, 0
        if self._transport is not None and (self.open or self._transport.is_closing()):
            self._unsent = self._transport.get_write_buffer_size()
        return 0 < self._unsent == before

    def close(self) -> None:
        """Ends it; its place is free at once."""
        self.release()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Cuts it."""
        if self._transport is not None:
            self._transport.abort()

    def release(self) -> None:
        """Gives its place back."""
        if self.open:
            self.open = False
            self._all.limit.mark_busy(self)
            self._all.limit.release(self.peer)

    def take_again(self) -> None:
        """Takes a place again, if it is there."""
        if self._transport is not None and not self._transport.is_closing() and not self.open:
            self.open = True
            self._all.limit.take_anyway(self.peer)
