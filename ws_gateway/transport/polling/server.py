"""Long-polling by python-engineio, and all that is touched of the insides of it and of aiohttp.

It holds for the versions in `HOLDS_FOR`; a test fails when others are installed, and says what to look at.
With others it still serves, WebSockets too, but the direct way (`direct.py`, `Polled.upgrade`) is closed.
What is replaced, and why:

- closing never waits for a client to read (`engineio.AsyncSocket.close` does, for ever), and answers an open
  poll (which python-engineio keeps for 45 s);
- long-polling bodies are read whole (python-engineio takes what the first read gives) and may hold as many
  packets as fit into them (it takes 16); its client takes no more, so no poll is answered with more;
- what waits for a client is bounded (python-engineio's queues are not);
- an upgrade is followed by a WebSocket of our own, which takes what is queued from then on;
- WebSocket compression is off, and whatever ends a WebSocket ends its connection.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from importlib.metadata import version
from typing import Any, Final

import engineio
import structlog
from aiohttp import web
from engineio import packet as eio
from engineio.async_drivers.aiohttp import translate_request
from engineio.exceptions import EngineIOError
from engineio.payload import Payload

from ws_gateway.limits import Limits
from ws_gateway.metrics import DIRECT, HANDSHAKE_TIMEOUT, LIMITED, PAYLOAD_TOO_LARGE
from ws_gateway.transport.connection import (
    SERVER_DISCONNECT,
    TRANSPORT_CLOSE,
    OverWebSocket,
    Sessions,
)
from ws_gateway.transport.frame_reader import TOO_BIG
from ws_gateway.transport.frames import Frame, Wire, text_frame
from ws_gateway.transport.heartbeat import PING_INTERVAL_SECONDS, PING_TIMEOUT_SECONDS
from ws_gateway.transport.websocket import WebSocket

log = structlog.get_logger()

ANSWERS_WAITING: Final = 4
"""Answers may wait for a poll up to so many times what events may: a client asked for them."""

HOLDS_FOR: Final = {"python-socketio": "5.18", "python-engineio": "4.15", "aiohttp": "3"}
CLOSE_SECONDS: Final = 5.0
PACKETS_PER_POLL: Final = 16

Run = Callable[[Coroutine[Any, Any, None]], None]
"""Has work done in a task of its own."""


def installed() -> dict[str, str]:
    """The versions that are installed of the packages in `HOLDS_FOR`, as exact as those there."""
    return {
        package: ".".join(version(package).split(".")[: known.count(".") + 1])
        for package, known in HOLDS_FOR.items()
    }


class StockServer:
    """python-engineio's server, whose connections are `Polled`.

    Attributes:
        holds: the installed versions are those that this file was written for.
    """

    def __init__(self, sessions: Sessions, *, limits: Limits, run: Run) -> None:
        Payload.max_decode_packets = limits.max_payload
        self._sessions = sessions
        self._max_waiting = limits.max_waiting
        self._run = run
        self._polled: dict[str, Polled] = {}
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
            "websocket": _WebSocket,
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

    def upgradable(self, eio_sid: str) -> "Polled | None":
        """The connection that may go on over a WebSocket."""
        polled = self._polled.get(eio_sid)
        return polled if polled is not None and polled.upgradable else None

    def disconnect(self, eio_sid: str) -> None:
        """Ends a connection without waiting for its client."""
        self._run(self._server.disconnect(eio_sid))

    @property
    def no_websockets(self) -> asyncio.Event:
        """No WebSocket is served here."""
        return self._server.no_websockets

    def abort(self) -> None:
        """Cuts all WebSockets that are served here."""
        for websocket in list(self._server.websockets):
            websocket.abort()

    async def end(self) -> None:
        """Ends what python-engineio does by itself."""
        await self._server.shutdown()

    def _connected(self, eio_sid: str, environ: dict[str, Any]) -> None:
        request = environ["aiohttp.request"]
        engine = self._server.sockets[eio_sid]
        engine.handle_post_request = partial(_take_body, engine.handle_post_request)
        polled = Polled(
            engine,
            self,
            self._sessions,
            origin=environ.get("HTTP_ORIGIN"),
            address=request.remote or "",
            max_waiting=self._max_waiting,
        )
        self._polled[eio_sid] = polled
        self._sessions.opened(polled)

    def _received(self, eio_sid: str, data: Any) -> None:
        if (polled := self._polled.get(eio_sid)) is not None:
            self._sessions.received(polled, data)

    def _lost(self, eio_sid: str, reason: str) -> None:
        if (polled := self._polled.pop(eio_sid, None)) is not None:
            self._sessions.lost(polled, reason)
            del polled.socket_of_engine.handle_post_request  # which holds it in turn
            asyncio.get_running_loop().call_soon(_end_reader, polled.socket_of_engine)


class Polled(OverWebSocket):
    """A connection that began with long-polling, or whose WebSocket python-engineio serves."""

    __slots__ = ("_given_up", "_max_waiting", "_server", "_websocket", "socket_of_engine")

    def __init__(
        self,
        socket_of_engine: Any,
        server: StockServer,
        sessions: Sessions,
        *,
        origin: str | None,
        address: str,
        max_waiting: int,
    ) -> None:
        super().__init__(socket_of_engine.sid, sessions, origin=origin, address=address)
        self.socket_of_engine = socket_of_engine
        self._server = server
        self._max_waiting = max_waiting
        self._websocket: WebSocket | None = None
        self._given_up = False

    def send(self, frame: Frame) -> None:
        """Queues a frame to the WebSocket, or for the next poll."""
        if self._websocket is not None:
            self._websocket.send(frame)
            return
        queue: _Packets = self.socket_of_engine.queue
        if self.socket_of_engine.closed or self._given_up:
            return
        if queue.waiting_bytes > self._max_waiting and not frame.answers:
            if frame.droppable:
                return
            queue.drop_droppable()
            if queue.waiting_bytes > self._max_waiting:
                self._give_up(queue.waiting_bytes)
                return
        if queue.answer_bytes > ANSWERS_WAITING * self._max_waiting:
            self._give_up(queue.answer_bytes)
            return
        queue.put_nowait(_Message(frame))

    def _give_up(self, waiting: int) -> None:
        self._given_up = True
        self._sessions.slow(self, waiting)

    async def writable(self) -> None:
        """Returns when the client takes what is sent to it over its WebSocket."""
        if self._websocket is not None:
            await self._websocket.writable()

    def close(self) -> None:
        """Ends it once what is queued is sent."""
        self._server.disconnect(self.sid)

    def abort(self) -> None:
        """Ends it at once."""
        if self._websocket is not None:
            self._websocket.abort()
        websocket: _WebSocket | None = getattr(self.socket_of_engine, "websocket", None)
        if websocket is not None:
            websocket.abort()
        self.close()

    # --- going on over a WebSocket ---

    @property
    def upgradable(self) -> bool:
        """Whether it is open, and neither has a WebSocket nor is about to have one."""
        engine = self.socket_of_engine
        over = engine.closed or engine.closing or engine.upgrading or engine.upgraded
        return bool(engine.connected and not over)

    def upgrade(self) -> "Upgrade":
        """The first owner of the WebSocket that it shall go on over."""
        self.socket_of_engine.upgrading = True
        return Upgrade(self, self._sessions)

    def probed(self) -> None:
        """The client tries its WebSocket: an open poll is answered, so that it may go over to it."""
        self.socket_of_engine.queue.put_nowait(eio.Packet(eio.NOOP))

    def upgraded(self, websocket: WebSocket) -> None:
        """From now on all goes over the WebSocket, first what no poll has taken."""
        engine = self.socket_of_engine
        engine.upgrading, engine.upgraded = False, True
        self._websocket = websocket
        websocket.owner = self
        engine.queue.pour_into(partial(_pour, websocket))

    def not_upgraded(self) -> None:
        """The WebSocket was not what it was asked for: polling goes on."""
        self.socket_of_engine.upgrading = False

    def ponged(self) -> None:
        """The client is there: python-engineio pings it again."""
        self.socket_of_engine.schedule_ping()

    def lost(self) -> None:
        """The WebSocket is no more."""
        self._sessions.lost(self, TRANSPORT_CLOSE)
        self.close()


class Upgrade:
    """Owns a WebSocket until the polling client has tried it and come over.

    Attributes:
        websocket: set before anything is received.
    """

    websocket: WebSocket

    def __init__(self, polled: Polled, sessions: Sessions) -> None:
        self._polled = polled
        self._sessions = sessions
        self._probed = False

    def received(self, data: str | bytes) -> None:
        """Takes the probe, then the word that the client has come over."""
        if not self._probed and data == "2probe":
            self._probed = True
            self.websocket.send(Wire(text_frame(b"3probe")))
            self._polled.probed()
        elif self._probed and data == "5":
            self._polled.upgraded(self.websocket)
        else:
            self._polled.not_upgraded()
            self.websocket.close()

    def give_up(self) -> None:
        """The client had its time."""
        if self.websocket.owner is self and not self.websocket.closing:
            LIMITED.labels(HANDSHAKE_TIMEOUT).inc()
            self.websocket.abort()

    def slow(self, waiting: int) -> None:
        """Nothing is sent that could wait."""

    def lost(self) -> None:
        """The client has thought better of it."""
        self._polled.not_upgraded()


class _Message(eio.Packet):  # type: ignore[misc]  # python-engineio has no types
    """A frame as python-engineio's queues hold it."""

    def __init__(self, frame: Frame) -> None:
        super().__init__(eio.MESSAGE, frame.text)
        self.frame = frame


async def _take_body(handle: Callable[[dict[str, Any]], Awaitable[None]], environ: dict[str, Any]) -> None:
    """Has a long-polling body handled; one that makes no sense ends its connection.

    python-engineio would log it as a failure of its own, answer 200 and go on.
    """
    try:
        await handle(environ)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        log.info("engine.bad_packet", reason=type(error).__name__)
        raise EngineIOError from error


def _end_reader(connection: Any) -> None:
    """Lets whoever waits for packets, after those queued so far, know that there will be no more."""
    if not connection.upgraded:
        connection.queue.put_nowait(eio.Packet(eio.NOOP))  # an open poll has to be answered with something
    connection.queue.put_nowait(None)


def _pour(websocket: WebSocket, packet: Any) -> None:
    """Sends what python-engineio queues: pings, and the end."""
    if packet is None:
        websocket.close()
    elif isinstance(packet, _Message):
        websocket.send(packet.frame)
    else:
        websocket.send(Wire(text_frame(packet.encode().encode())))


def _only_answers_a_poll(packet: Any) -> bool:
    return packet is not None and packet.packet_type == eio.NOOP


def _size(packet: Any, *, answers: bool = False) -> int:
    """What a packet counts for among the events that wait, or among the answers."""
    return len(packet.frame.wire) if isinstance(packet, _Message) and packet.frame.answers is answers else 0


class _Packets(asyncio.Queue[Any]):
    """A connection's packets. `AsyncSocket.poll` waits for one and takes on while there are more."""

    _taken = 0
    _sink: Callable[[Any], None] | None = None
    waiting_bytes = 0
    answer_bytes = 0

    def pour_into(self, sink: Callable[[Any], None]) -> None:
        """Gives `sink` what is queued, and what would be queued from now on."""
        while not self.empty():
            sink(super().get_nowait())
        self._sink = sink

    def drop_droppable(self) -> None:
        """Does without what the client may go without."""
        kept = [each for each in self._queue if not (isinstance(each, _Message) and each.frame.droppable)]  # type: ignore[attr-defined]  # asyncio's deque
        self._queue.clear()  # type: ignore[attr-defined]
        self._queue.extend(kept)  # type: ignore[attr-defined]
        self.waiting_bytes = sum(map(_size, kept))

    def put_nowait(self, item: Any) -> None:
        if self._sink is not None:
            self._sink(item)
        elif self.empty() or not _only_answers_a_poll(item):  # what waits answers it too
            super().put_nowait(item)

    def _put(self, item: Any) -> None:
        self.waiting_bytes += _size(item)
        self.answer_bytes += _size(item, answers=True)
        super()._put(item)

    def _get(self) -> Any:
        item = super()._get()
        self.waiting_bytes -= _size(item)
        self.answer_bytes -= _size(item, answers=True)
        return item

    async def get(self) -> Any:
        self._taken = 0
        return await super().get()

    def get_nowait(self) -> Any:
        if self._taken == PACKETS_PER_POLL:
            raise asyncio.QueueEmpty
        packet = super().get_nowait()
        self._taken += 1
        return packet


class _Server(engineio.AsyncServer):  # type: ignore[misc]  # python-engineio has no types
    """The Engine.IO server, whose connections are closed without waiting for their clients."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.handshake_seconds = 0.0
        self.websockets: set[_WebSocket] = set()
        self.no_websockets = asyncio.Event()
        self.no_websockets.set()

    def create_queue(self, *_: Any, **__: Any) -> _Packets:
        return _Packets()

    async def disconnect(self, sid: str | None = None) -> None:
        connection = self.sockets.pop(sid, None)
        if connection is None:
            return
        # No CLOSE packet: python-socketio's client would not come back after it.
        await connection.close(wait=False, abort=True, reason=SERVER_DISCONNECT)
        _end_reader(connection)  # the writer of a WebSocket closes it then
        websocket: _WebSocket | None = getattr(connection, "websocket", None)
        if websocket is not None:
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, websocket.abort)


class _WebSocket:
    """What `engineio.AsyncSocket` writes a WebSocket through; it is `connection.websocket` from then on."""

    def __init__(self, handler: Callable[["_WebSocket"], Any], server: Any) -> None:
        self._serve = handler
        self._connection = handler.__self__  # type: ignore[attr-defined]  # a method of AsyncSocket
        self._server = server
        self._response = web.WebSocketResponse(
            max_msg_size=server.max_http_buffer_size + 1,  # aiohttp takes what is smaller
            compress=False,
            timeout=CLOSE_SECONDS,
        )
        self._request: web.Request | None = None

    async def __call__(self, environ: dict[str, Any]) -> web.WebSocketResponse:
        self._request = environ["aiohttp.request"]
        await self._response.prepare(self._request)
        self._connection.websocket = self
        self._server.websockets.add(self)
        self._server.no_websockets.clear()
        asyncio.get_running_loop().call_later(self._server.handshake_seconds, self._give_up)
        try:
            await self._serve(self)
        except (ValueError, TypeError, RecursionError, OSError) as error:
            log.info("engine.bad_packet", reason=str(error))
        finally:
            await self._end()
        return self._response

    def _give_up(self) -> None:
        """The client had its time to come over."""
        if self._connection.upgrading:
            LIMITED.labels(HANDSHAKE_TIMEOUT).inc()
            self.abort()

    async def _end(self) -> None:
        """Ends the connection too, unless the WebSocket was an upgrade that failed: then polling goes on."""
        self._connection.upgrading = False
        if self._connection.upgraded:
            await self._connection.close(wait=False, abort=True)
            _end_reader(self._connection)
        await self._response.close()
        self._server.websockets.discard(self)
        if not self._server.websockets:
            self._server.no_websockets.set()

    def abort(self) -> None:
        """Cuts the TCP connection if it is still there."""
        if self._request is not None and self._request.transport is not None:
            self._request.transport.abort()

    async def send(self, message: str | bytes) -> None:
        if isinstance(message, str):
            await self._response.send_str(message)
        else:
            await self._response.send_bytes(message)

    async def wait(self) -> str | bytes:
        data = (await self._response.receive()).data
        if not isinstance(data, str | bytes):
            if self._response.close_code == TOO_BIG:
                LIMITED.labels(PAYLOAD_TOO_LARGE).inc()
            raise OSError("closed")
        return data

    async def close(self) -> None:
        await self._response.close()


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
