"""The Socket.IO engine: python-socketio and python-engineio, with all that is touched of their insides.

It holds for the versions in `HOLDS_FOR`; a test fails when others are installed, and says what to look at.
What is replaced, and why:

- packets are checked before anything acts on them: python-socketio raises on malformed ones, and waits for
  any number of binary attachments; here their connection is closed;
- an acknowledgement and the frames after it are queued in one step, so that their order is fixed;
- a connection without a socket (no CONNECT yet, a refused one, after a disconnect) is closed after a while;
- closing never waits for a client to read (`engineio.AsyncSocket.close` does, for ever), and answers an open
  poll (which python-engineio keeps for 45 s);
- long-polling bodies are read whole (python-engineio takes what the first read gives) and may hold as many
  packets as fit into them (it takes 16); its client takes no more, so no poll is answered with more;
- WebSocket compression is off, and whatever ends a WebSocket ends its connection.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol

import engineio
import orjson
import socketio
import structlog
from aiohttp import web
from engineio import packet as eio
from engineio.async_drivers.aiohttp import translate_request
from engineio.payload import Payload
from socketio import packet as sio

from ws_gateway.metrics import SLOW_CONSUMERS

log = structlog.get_logger()

HOLDS_FOR: Final = {"python-socketio": "5.18", "python-engineio": "4.15"}
PING_INTERVAL_SECONDS: Final = 25
PING_TIMEOUT_SECONDS: Final = 20
WITHOUT_SOCKET_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 5.0
MAX_ATTACHMENTS: Final = 10
MAX_WAITING_BYTES: Final = 4 * 1024 * 1024
"""How much may wait for a client that does not read before it is closed."""
PACKETS_PER_POLL: Final = 16

_EVENTS: Final = frozenset({sio.EVENT, sio.BINARY_EVENT})
_BINARY: Final = frozenset({sio.BINARY_EVENT, sio.BINARY_ACK})
_FROM_CLIENTS: Final = _EVENTS | _BINARY | {sio.CONNECT, sio.DISCONNECT, sio.ACK}

Frame = Any
"""A packet ready to be sent to any number of connections; encoded once."""
Reply = Callable[[bytes], None]
"""Queues the acknowledgement, a JSON value; does nothing when the client asked for none."""


class Connection(Protocol):
    """A client's Engine.IO connection, over whichever transport it uses now."""

    sid: str
    closed: bool
    closing: bool
    queue: "_Packets"
    server: "_Connections"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A client that asks for a socket.

    Attributes:
        sid: the socket's id, if it is let in.
        origin: the `Origin` header of its first request, or None.
        auth: what the client gave as `auth`; any JSON value.
    """

    sid: str
    connection: Connection
    origin: str | None
    auth: object


class ArrivalRefusedError(Exception):
    """The client gets a `connect_error` with this message and `data.code`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ArrivalPostponedError(Exception):
    """Whether the client may come in cannot be told now: its connection is closed, so that it tries again."""


class Application(Protocol):
    """What the engine hands its events to."""

    async def admit(self, arrival: Arrival) -> None:
        """Returns when the client may come in.

        Raises:
            ArrivalRefusedError: it may not.
            ArrivalPostponedError: that cannot be told now.
        """

    def connected(self, sid: str) -> None:
        """An admitted client was told so; what is sent to it from here on arrives after that."""

    async def asked(self, sid: str, event: object, arguments: list[Any], reply: Reply) -> None:
        """A connected client has sent an event."""

    def gone(self, sid: str, reason: str) -> None:
        """An admitted client's socket is no more, whether it ever was connected or not."""


def event_frame(name: str, body: bytes) -> Frame:
    """The frame of an event whose one argument is the JSON `body`, taken as it is."""
    return eio.Packet(eio.MESSAGE, f"{sio.EVENT}[{orjson.dumps(name).decode()},{body.decode()}]")


def send(connection: Connection, frame: Frame) -> None:
    """Queues a frame; never waits. What is queued to one connection arrives in that order, or not at all.

    A connection whose client does not take what waits for it, `MAX_WAITING_BYTES`, is closed; nothing is
    queued after the hole.
    """
    queue = connection.queue
    if connection.closed or queue.given_up:
        return
    if queue.waiting_bytes > MAX_WAITING_BYTES:
        queue.given_up = True
        connection.server.slow(connection)
        return
    queue.put_nowait(frame)


def _end_reader(connection: Any) -> None:
    """Lets whoever waits for packets, after those queued so far, know that there will be no more."""
    if not connection.upgraded:
        connection.queue.put_nowait(eio.Packet(eio.NOOP))  # an open poll has to be answered with something
    connection.queue.put_nowait(None)


class _BadPacketError(ValueError):
    """What a client sent is no Socket.IO packet that it may send."""


class Engine(socketio.AsyncServer):  # type: ignore[misc]  # python-socketio has no types
    """The Socket.IO server. `tasks` runs what clients ask.

    Attributes:
        application: set before the first client comes.
    """

    application: Application

    def __init__(self, *, tasks: asyncio.TaskGroup, max_payload: int) -> None:
        Payload.max_decode_packets = max_payload
        super().__init__(
            async_mode="aiohttp",
            logger=_Log(),
            engineio_logger=_Log(),
            cors_allowed_origins=[],
            http_compression=False,
            max_http_buffer_size=max_payload,
            ping_interval=PING_INTERVAL_SECONDS,
            ping_timeout=PING_TIMEOUT_SECONDS,
            namespaces=["/"],
        )
        self.eio._async = {  # noqa: SLF001  # how the transport is chosen
            **self.eio._async,  # noqa: SLF001
            "websocket": _WebSocket,
            "translate_request": _translate,
        }
        self.eio.slow = self._slow
        self._tasks = tasks
        self._origins: dict[str, str | None] = {}
        self._without_socket: dict[str, asyncio.TimerHandle] = {}
        self.on("disconnect", self._gone)

    def _gone(self, sid: str, reason: str) -> None:
        self.application.gone(sid, reason)

    def _slow(self, connection: Connection) -> None:
        log.warning("engine.slow_consumer", connection=connection.sid)
        SLOW_CONSUMERS.inc()
        websocket: _WebSocket | None = getattr(connection, "websocket", None)
        if websocket is not None:
            websocket.abort()  # it does not read, so it would not read a farewell either
        self.close(connection)

    def drop(self, sid: str) -> None:
        """Disconnects a socket by a DISCONNECT packet: clients do not come back by themselves."""
        self._run(self.disconnect(sid))

    def close(self, connection: Connection) -> None:
        """Closes a client's connection: clients come back by themselves. What is queued is sent first."""
        self._run(self.eio.disconnect(connection.sid))

    async def end(self, seconds: float) -> None:
        """Closes all connections; those still open after that time are cut."""
        for eio_sid in list(self.eio.sockets):
            await self.eio.disconnect(eio_sid)
        try:
            async with asyncio.timeout(seconds):
                await self.eio.no_websockets.wait()
        except TimeoutError:
            for websocket in list(self.eio.websockets):
                websocket.abort()
        await self.shutdown()

    def _engineio_server_class(self) -> type:
        return _Connections

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> None:
        self._origins[eio_sid] = environ.get("HTTP_ORIGIN")
        self._expect_socket(eio_sid)

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        await super()._handle_eio_disconnect(eio_sid, reason)
        if (connection := self.eio.sockets.get(eio_sid)) is not None:
            asyncio.get_running_loop().call_soon(_end_reader, connection)
        self._origins.pop(eio_sid, None)
        self._binary_packet.pop(eio_sid, None)
        if (timer := self._without_socket.pop(eio_sid, None)) is not None:
            timer.cancel()

    def _expect_socket(self, eio_sid: str) -> None:
        def give_up() -> None:
            self._run(self.eio.disconnect(eio_sid))

        if self.manager.sid_from_eio_sid(eio_sid, "/") is not None:
            return
        if eio_sid in self._origins and eio_sid not in self._without_socket:
            loop = asyncio.get_running_loop()
            self._without_socket[eio_sid] = loop.call_later(WITHOUT_SOCKET_SECONDS, give_up)

    async def _handle_eio_message(self, eio_sid: str, data: object) -> None:
        try:
            packet = self._decoded(eio_sid, data)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            log.info("engine.bad_packet", reason=str(error))
            await self.eio.disconnect(eio_sid)
            return
        match packet and packet.packet_type:
            case sio.CONNECT:
                await self._handle_connect(eio_sid, packet.namespace, packet.data)
            case sio.DISCONNECT:
                await self._handle_disconnect(eio_sid, packet.namespace, self.reason.CLIENT_DISCONNECT)
                self._expect_socket(eio_sid)
            case sio.EVENT | sio.BINARY_EVENT:
                self._ask(eio_sid, packet)
            case _:
                pass  # attachments to come, or an acknowledgement: nothing is ever asked of clients

    def _decoded(self, eio_sid: str, data: object) -> Any:
        """The packet that is complete with `data`, or None when attachments are to come."""
        packet = self._binary_packet.pop(eio_sid, None)
        if packet is not None:
            if not isinstance(data, bytes):
                raise _BadPacketError("text where an attachment was announced")
            packet.add_attachment(data)
        elif isinstance(data, str):
            packet = self.packet_class(encoded_packet=data)
        else:
            raise _BadPacketError("binary data without a packet that announced it")
        if packet.packet_type not in _FROM_CLIENTS:
            raise _BadPacketError("a packet that only servers send")
        if packet.packet_type in _BINARY:
            self._check_attachments(eio_sid, packet)
            if len(packet.attachments) < packet.attachment_count:
                self._binary_packet[eio_sid] = packet
                return None
        if packet.packet_type in _EVENTS and not (isinstance(packet.data, list) and packet.data):
            raise _BadPacketError("an event without a name")
        return packet

    def _check_attachments(self, eio_sid: str, packet: Any) -> None:
        if not 0 < packet.attachment_count <= MAX_ATTACHMENTS:
            raise _BadPacketError("no attachments, or too many")
        if not self.manager.is_connected(self.manager.sid_from_eio_sid(eio_sid, "/"), "/"):
            raise _BadPacketError("a binary packet before a socket")

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: object) -> None:
        connection = self.eio.sockets.get(eio_sid)
        if connection is None or connection.closed or connection.closing:
            return
        if (namespace or "/") != "/":
            self._refuse(connection, ArrivalRefusedError("invalid_namespace", "Invalid namespace"), namespace)
            return
        sid = await self.manager.pre_connect(eio_sid, "/")
        if sid is None:  # it has a socket already
            await self.eio.disconnect(eio_sid)
            return
        if not await self._admitted(Arrival(sid, connection, self._origins.get(eio_sid), data)):
            await self.manager.disconnect(sid, "/", ignore_queue=True)
            return
        if (timer := self._without_socket.pop(eio_sid, None)) is not None:
            timer.cancel()
        send(connection, eio.Packet(eio.MESSAGE, self.packet_class(sio.CONNECT, {"sid": sid}).encode()))
        await self.manager.connect(sid, "/")
        self.application.connected(sid)

    async def _admitted(self, arrival: Arrival) -> bool:
        try:
            await self.application.admit(arrival)
        except ArrivalRefusedError as refusal:
            self._refuse(arrival.connection, refusal)
            return False
        except ArrivalPostponedError:
            await self.eio.disconnect(arrival.connection.sid)
            return False
        except Exception:
            log.exception("engine.admit_failed")
            await self.eio.disconnect(arrival.connection.sid)
            return False
        if arrival.connection.closed or arrival.connection.closing:
            self.application.gone(arrival.sid, self.reason.TRANSPORT_CLOSE)
            return False
        return True

    def _refuse(
        self, connection: Connection, refusal: ArrivalRefusedError, namespace: str | None = None
    ) -> None:
        problem = {"message": str(refusal), "data": {"code": refusal.code}}
        packet = self.packet_class(sio.CONNECT_ERROR, problem, namespace=namespace)
        send(connection, eio.Packet(eio.MESSAGE, packet.encode()))

    def _ask(self, eio_sid: str, packet: Any) -> None:
        sid = self.manager.sid_from_eio_sid(eio_sid, "/")
        connection = self.eio.sockets.get(eio_sid)
        if connection is None or (packet.namespace or "/") != "/" or not self.manager.is_connected(sid, "/"):
            return

        def reply(answer: bytes) -> None:
            if packet.id is not None:
                send(connection, eio.Packet(eio.MESSAGE, f"{sio.ACK}{packet.id}[{answer.decode()}]"))

        self._run(self.application.asked(sid, packet.data[0], packet.data[1:], reply))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception:
                log.exception("engine.task_failed")

        self._tasks.create_task(guarded())

    async def disconnect(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None:  # noqa: FBT001, FBT002  # python-socketio's signature
        """Sends DISCONNECT; the connection is closed a while later if the client leaves it open."""
        eio_sid = self.manager.eio_sid_from_sid(sid, "/")
        await super().disconnect(sid, namespace, ignore_queue)
        if eio_sid is not None:
            self._expect_socket(eio_sid)


def _size(frame: Frame | None) -> int:
    data = None if frame is None else frame.data
    return len(data) if isinstance(data, str | bytes) else 0


class _Packets(asyncio.Queue[Frame | None]):
    """A connection's packets. `AsyncSocket.poll` waits for one and takes on while there are more."""

    _taken = 0
    waiting_bytes = 0
    given_up = False

    def _put(self, item: Frame | None) -> None:
        self.waiting_bytes += _size(item)
        super()._put(item)

    def _get(self) -> Frame | None:
        item: Frame | None = super()._get()
        self.waiting_bytes -= _size(item)
        return item

    async def get(self) -> Frame | None:
        self._taken = 0
        return await super().get()

    def get_nowait(self) -> Frame | None:
        if self._taken == PACKETS_PER_POLL:
            raise asyncio.QueueEmpty
        packet = super().get_nowait()
        self._taken += 1
        return packet


class _Connections(engineio.AsyncServer):  # type: ignore[misc]  # python-engineio has no types
    """The Engine.IO server, whose connections are closed without waiting for their clients."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.websockets: set[_WebSocket] = set()
        self.no_websockets = asyncio.Event()
        self.no_websockets.set()
        self.slow: Callable[[Connection], None] = lambda _: None

    def create_queue(self, *_: Any, **__: Any) -> _Packets:
        return _Packets()

    async def disconnect(self, sid: str | None = None) -> None:
        connection = self.sockets.pop(sid, None)
        if connection is None:
            return
        # No CLOSE packet: python-socketio's client would not come back after it.
        await connection.close(wait=False, abort=True, reason=self.reason.SERVER_DISCONNECT)
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
        try:
            await self._serve(self)
        except (ValueError, TypeError, RecursionError, OSError) as error:
            log.info("engine.bad_packet", reason=str(error))
        finally:
            await self._end()
        return self._response

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
    """python-socketio's logger: what it has to say of single packets is dropped, the rest is a warning."""

    def debug(self, *_: object) -> None: ...

    def info(self, *_: object) -> None: ...

    def warning(self, text: str, *values: object) -> None:
        log.warning("engine.warning", text=text % values if values else text)

    error = warning

    def exception(self, text: str, *values: object) -> None:
        line = text % values if values else text
        log.exception("engine.failed", text=line)  # noqa: LOG004  # it is called in handlers of exceptions
