"""Serves long-polling by python-engineio, and says for which versions of it this folder was written."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from importlib.metadata import version
from typing import Any, Final

import engineio
import structlog
from aiohttp import web
from engineio.async_drivers.aiohttp import translate_request
from engineio.exceptions import EngineIOError
from engineio.payload import Payload

from ws_gateway.limits import Limits
from ws_gateway.metrics import DIRECT
from ws_gateway.transport.connection import SERVER_DISCONNECT, Sessions
from ws_gateway.transport.heartbeat import PING_INTERVAL_SECONDS, PING_TIMEOUT_SECONDS
from ws_gateway.transport.polling.connection import PollingConnection
from ws_gateway.transport.polling.fallback_websocket import CLOSE_SECONDS, FallbackWebSocket
from ws_gateway.transport.polling.packet_queue import PacketQueue, end_reader

log = structlog.get_logger()

HOLDS_FOR: Final = {"python-socketio": "5.18", "python-engineio": "4.15", "aiohttp": "3"}

Run = Callable[[Coroutine[Any, Any, None]], None]
"""Runs work in a task of its own."""


def installed() -> dict[str, str]:
    """Returns the installed versions of the packages in `HOLDS_FOR`, as exact as those there."""
    return {
        package: ".".join(version(package).split(".")[: known.count(".") + 1])
        for package, known in HOLDS_FOR.items()
    }


class PollingServer:
    """python-engineio's server, whose connections are `PollingConnection`.

    Attributes:
        holds: the installed versions are those that this folder was written for.
    """

    def __init__(self, sessions: Sessions, *, limits: Limits, run: Run) -> None:
        Payload.max_decode_packets = limits.max_payload
        self._sessions = sessions
        self._max_waiting = limits.max_waiting
        self._run = run
        self._connections: dict[str, PollingConnection] = {}
        self._server = _Server(
            async_mode="aiohttp",
            logger=_Log(),
            cors_allowed_origins=[],
            http_compression=False,
            async_handlers=False,
            max_http_buffer_size=limits.max_payload,
            ping_interval=PING_INTERVAL_SECONDS,
            ping_timeout=PING_TIMEOUT_SECONDS,
        )
        self._server.handshake_seconds = limits.handshake_seconds
        self._server._async = {  # noqa: SLF001  # how the transport is chosen
            **self._server._async,  # noqa: SLF001
            "websocket": FallbackWebSocket,
            "translate_request": _translate,
        }
        self._server.on("connect", self._connected)
        self._server.on("message", self._received)
        self._server.on("disconnect", self._lost)
        self.holds = installed() == HOLDS_FOR
        DIRECT.set(int(self.holds))
        if not self.holds:
            log.warning("engine.stock_path", installed=installed(), holds_for=HOLDS_FOR)

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        """Answers an Engine.IO request."""
        try:
            response = await self._server.handle_request(request)
        except KeyError:  # python-engineio, of a body for a session that has just ended
            return web.Response(status=400, text="Invalid session")
        if not isinstance(response, web.StreamResponse):  # a WebSocket that could not be opened
            return web.Response(status=400, text="No WebSocket handshake")
        return response

    def upgradable(self, eio_sid: str) -> PollingConnection | None:
        """Returns the connection with this id if it may go on over a WebSocket."""
        connection = self._connections.get(eio_sid)
        return connection if connection is not None and connection.upgradable else None

    def disconnect(self, eio_sid: str) -> None:
        """Ends a connection without waiting for its client."""
        self._run(self._server.disconnect(eio_sid))

    @property
    def no_websockets(self) -> asyncio.Event:
        """Set while no WebSocket is served here."""
        return self._server.no_websockets

    def abort(self) -> None:
        """Cuts all WebSockets that are served here."""
        for websocket in list(self._server.websockets):
            websocket.abort()

    async def end(self) -> None:
        """Ends the tasks that python-engineio runs by itself."""
        await self._server.shutdown()

    def _connected(self, eio_sid: str, environ: dict[str, Any]) -> None:
        request = environ["aiohttp.request"]
        engine_socket = self._server.sockets[eio_sid]
        engine_socket.handle_post_request = partial(_handle_body, engine_socket.handle_post_request)
        connection = PollingConnection(
            engine_socket,
            self._sessions,
            origin=environ.get("HTTP_ORIGIN"),
            address=request.remote or "",
            max_waiting=self._max_waiting,
            disconnect=self.disconnect,
        )
        self._connections[eio_sid] = connection
        self._sessions.opened(connection)

    def _received(self, eio_sid: str, data: Any) -> None:
        if (connection := self._connections.get(eio_sid)) is not None:
            self._sessions.received(connection, data)

    def _lost(self, eio_sid: str, reason: str) -> None:
        if (connection := self._connections.pop(eio_sid, None)) is not None:
            self._sessions.lost(connection, reason)
            del connection.engine_socket.handle_post_request  # which holds it in turn
            asyncio.get_running_loop().call_soon(end_reader, connection.engine_socket)


class _Server(engineio.AsyncServer):  # type: ignore[misc]  # python-engineio has no types
    """The Engine.IO server, whose connections are closed without waiting for their clients."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.handshake_seconds = 0.0
        self.websockets: set[FallbackWebSocket] = set()
        self.no_websockets = asyncio.Event()
        self.no_websockets.set()

    def create_queue(self, *_: Any, **__: Any) -> PacketQueue:
        return PacketQueue()

    async def disconnect(self, sid: str | None = None) -> None:
        engine_socket = self.sockets.pop(sid, None)
        if engine_socket is None:
            return
        # No CLOSE packet: python-socketio's client would not come back after it.
        await engine_socket.close(wait=False, abort=True, reason=SERVER_DISCONNECT)
        end_reader(engine_socket)  # the writer of a WebSocket closes it then
        websocket: FallbackWebSocket | None = getattr(engine_socket, "websocket", None)
        if websocket is not None:
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, websocket.abort)


async def _handle_body(handle: Callable[[dict[str, Any]], Awaitable[None]], environ: dict[str, Any]) -> None:
    """Handles a long-polling body; one that makes no sense ends its connection.

    python-engineio would log it as a failure of its own, answer 200 and go on.
    """
    try:
        await handle(environ)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        log.info("engine.bad_packet", reason=type(error).__name__)
        raise EngineIOError from error


class _Body:
    """A request's body, read whole, as python-engineio asks for it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(self, _: int) -> bytes:
        return self._body


async def _translate(request: web.Request) -> dict[str, Any]:
    environ: dict[str, Any] = translate_request(request)
    if request.method == "POST":
        body = await request.read()
        environ["wsgi.input"] = _Body(body)
        environ["CONTENT_LENGTH"] = str(len(body))
    return environ


class _Log:
    """python-engineio's logger: what it has to say of single packets is dropped, the rest is a warning."""

    def debug(self, *_: object) -> None: ...

    def info(self, *_: object) -> None: ...

    def warning(self, text: str, *values: object) -> None:
        log.warning("engine.warning", text=text % values if values else text)

    error = warning

    def exception(self, text: str, *values: object) -> None:
        line = text % values if values else text
        log.exception("engine.failed", text=line)  # noqa: LOG004  # it is called in handlers of exceptions
