"""The Socket.IO server: what clients' packets mean, over whichever connection they come.

Packets are checked before anything acts on them: whatever makes no sense ends its connection. An
acknowledgement and the frames after it are queued in one step, so that their order is fixed. A connection
without a socket (no CONNECT yet, a refused one, after a disconnect) is closed after a while.

Clients that open a WebSocket at once have it straight on their TCP connection (`direct.py`); long-polling is
python-engineio's (`stock.py`), and WebSockets are too where that file holds for other versions than are
installed.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson
import structlog
from aiohttp import web
from socketio import packet as sio

from ws_gateway.limits import Limits
from ws_gateway.metrics import CONNECTIONS, HANDSHAKE_TIMEOUT, LIMITED, SLOW_CONSUMERS
from ws_gateway.transport.connection import CLIENT_DISCONNECT, SERVER_DISCONNECT, SLOW_CONSUMER, Connection
from ws_gateway.transport.frames import Frame, Wire, ack_frame
from ws_gateway.transport.heartbeat import Heartbeat
from ws_gateway.transport.open_websockets import OpenWebSockets
from ws_gateway.transport.polling.connection import PollingConnection
from ws_gateway.transport.polling.server import PollingServer
from ws_gateway.transport.websocket import WebSocket
from ws_gateway.transport.websocket_connection import DirectConnection

log = structlog.get_logger()

MAX_REFUSALS: Final = 20
"""So often may a connection ask for a socket in vain; each time it has `handshake_seconds` for the next."""
MAX_ATTACHMENTS: Final = 10

_EVENTS: Final = frozenset({sio.EVENT, sio.BINARY_EVENT})
_BINARY: Final = frozenset({sio.BINARY_EVENT, sio.BINARY_ACK})
_FROM_CLIENTS: Final = _EVENTS | _BINARY | {sio.CONNECT, sio.DISCONNECT, sio.ACK}
_DISCONNECT: Final = Frame(str(sio.DISCONNECT))

Reply = Callable[[bytes], None]
"""Queues the acknowledgement, a JSON value; does nothing when the client asked for none."""


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


class _BadPacketError(ValueError):
    """What a client sent is no Socket.IO packet that it may send."""


class Engine:
    """The Socket.IO server. `tasks` runs what clients ask.

    Attributes:
        application: set before the first client comes.
        direct: clients may have WebSockets straight on their TCP connections.
    """

    application: Application

    def __init__(self, *, tasks: asyncio.TaskGroup, limits: Limits) -> None:
        self._tasks = tasks
        self._limits = limits
        self._websockets = OpenWebSockets()
        self._heartbeat = Heartbeat()
        self._connections: set[Connection] = set()
        self._sockets: dict[str, Connection] = {}
        self._polling = PollingServer(self, limits=limits, run=self._run)
        self.direct = self._polling.holds

    @property
    def connections(self) -> int:
        """How many connections there are, with a socket or without."""
        return len(self._connections)

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        """Answers an Engine.IO request that came over HTTP."""
        return await self._polling.handle_request(request)

    # --- WebSockets straight on their connections ---

    def open_direct(
        self, transport: asyncio.Transport, accepted: bytes, *, origin: str | None, address: str
    ) -> WebSocket:
        """Gives a client the WebSocket that it asked for, as its connection.

        `accepted` is the HTTP answer that says so, which goes first.
        """
        connection = DirectConnection(self, origin=origin, address=address)
        websocket = self._websocket(transport, connection)
        websocket.send(Wire(accepted))
        connection.open(websocket, max_payload=self._limits.max_payload)
        self._heartbeat.add(connection)
        return websocket

    def upgradable(self, eio_sid: str) -> PollingConnection | None:
        """The polling connection that may go on over a WebSocket."""
        return self._polling.upgradable(eio_sid)

    def open_upgrade(
        self, transport: asyncio.Transport, polling: PollingConnection, accepted: bytes
    ) -> WebSocket:
        """Gives a polling client the WebSocket that it wants to go on over; `accepted` goes first."""
        upgrade = polling.upgrade()
        websocket = self._websocket(transport, upgrade)
        websocket.send(Wire(accepted))
        upgrade.websocket = websocket
        asyncio.get_running_loop().call_later(self._limits.handshake_seconds, upgrade.give_up)
        return websocket

    def _websocket(self, transport: asyncio.Transport, owner: Any) -> WebSocket:
        return WebSocket(
            transport,
            owner,
            all_=self._websockets,
            max_message=self._limits.max_payload,
            max_waiting=self._limits.max_waiting,
            frame_rate=self._limits.flood_bucket() if self._limits.limited else None,
        )

    # --- ends ---

    def drop(self, sid: str) -> None:
        """Disconnects a socket by a DISCONNECT packet: clients do not come back by themselves.

        The connection is closed a while later if the client leaves it open.
        """
        connection = self._sockets.get(sid)
        if connection is None or not connection.connected:
            return
        connection.send(_DISCONNECT)
        self._disconnect(connection, SERVER_DISCONNECT)
        self._expect_socket(connection)

    def close(self, connection: Connection) -> None:
        """Closes a client's connection: clients come back by themselves. What is queued is sent first."""
        self.lost(connection, SERVER_DISCONNECT)
        connection.close()

    async def end(self, seconds: float) -> None:
        """Closes all connections; those still open after that time are cut."""
        for connection in list(self._connections):
            self.close(connection)
        try:
            async with asyncio.timeout(seconds):
                await self._websockets.none_left.wait()
                await self._polling.no_websockets.wait()
        except TimeoutError:
            self._websockets.abort()
            self._polling.abort()
        self._heartbeat.stop()
        await self._polling.end()

    # --- what connections tell ---

    def opened(self, connection: Connection) -> None:
        """A client has opened a connection."""
        self._connections.add(connection)
        CONNECTIONS.set(len(self._connections))
        self._expect_socket(connection)

    def lost(self, connection: Connection, reason: str) -> None:
        """A connection is no more; safe to repeat."""
        if connection.ended:
            return
        connection.ended = True
        connection.backlog = connection.attachments_due = None
        self._connections.discard(connection)
        CONNECTIONS.set(len(self._connections))
        self._stop_timer(connection)
        if connection.connected:
            self._disconnect(connection, reason)

    def slow(self, connection: Connection, waiting: int) -> None:
        """A client does not take what waits for it."""
        log.warning("engine.slow_consumer", connection=connection.sid, waiting_bytes=waiting)
        SLOW_CONSUMERS.inc()
        LIMITED.labels("slow_consumer").inc()
        # Its rooms are being gone through right now.
        asyncio.get_running_loop().call_soon(self._cut, connection)

    def _cut(self, connection: Connection) -> None:
        self.lost(connection, SLOW_CONSUMER)
        connection.abort()

    def failed(self, connection: Connection, reason: str) -> None:
        """What a client sent makes no sense: its connection is closed."""
        log.info("engine.bad_packet", reason=reason)
        self.close(connection)

    def received(self, connection: Connection, data: str | bytes) -> None:
        """A message has come; while the client's CONNECT is looked at, what follows waits."""
        if connection.ended:
            return
        if connection.backlog is not None:
            connection.backlog.append(data)
            connection.backlog_size += len(data) + 1  # what says that it is a message
            if connection.backlog_size > self._limits.max_payload:
                self.failed(connection, "too much before its socket was let in")
            return
        try:
            packet = self._decoded(connection, data)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            self.failed(connection, str(error)[:200])
            return
        match packet and packet.packet_type:
            case sio.CONNECT:
                self._handle_connect(connection, packet.namespace, packet.data)
            case sio.DISCONNECT:
                if connection.connected and (packet.namespace or "/") == "/":
                    self._disconnect(connection, CLIENT_DISCONNECT)
                    self._expect_socket(connection)
            case sio.EVENT | sio.BINARY_EVENT:
                self._ask(connection, packet)
            case _:
                pass  # attachments to come, or an acknowledgement: nothing is ever asked of clients

    def _decoded(self, connection: Connection, data: str | bytes) -> Any:
        """The packet that is complete with `data`, or None when attachments are to come."""
        packet, connection.attachments_due = connection.attachments_due, None
        if packet is not None:
            if not isinstance(data, bytes):
                raise _BadPacketError("text where an attachment was announced")
            packet.add_attachment(data)
        elif isinstance(data, str) and data:
            packet = sio.Packet(encoded_packet=data)
        else:
            raise _BadPacketError("no packet, or binary data without a packet that announced it")
        if packet.packet_type not in _FROM_CLIENTS:
            raise _BadPacketError("a packet that only servers send")
        if packet.packet_type in _BINARY:
            if not 0 < packet.attachment_count <= MAX_ATTACHMENTS:
                raise _BadPacketError("no attachments, or too many")
            if not connection.connected:
                raise _BadPacketError("a binary packet before a socket")
            if len(packet.attachments) < packet.attachment_count:
                connection.attachments_due = packet
                return None
        if packet.packet_type in _EVENTS and not (isinstance(packet.data, list) and packet.data):
            raise _BadPacketError("an event without a name")
        return packet

    # --- sockets ---

    def _handle_connect(self, connection: Connection, namespace: str | None, auth: object) -> None:
        if (namespace or "/") != "/":
            self._refuse(connection, ArrivalRefusedError("invalid_namespace", "Invalid namespace"), namespace)
        elif connection.socket is not None:
            self.failed(connection, "a second socket")
        else:
            connection.socket = secrets.token_urlsafe(15)
            connection.backlog = deque()
            self._stop_timer(connection)  # the client has done its part
            connection.hold()
            self._run(self._connect(connection, connection.socket, auth))

    async def _connect(self, connection: Connection, sid: str, auth: object) -> None:
        if not await self._admitted(Arrival(sid, connection, connection.origin, auth)):
            connection.socket = None
            connection.refusals += 1
            if connection.refusals < MAX_REFUSALS:
                self._expect_socket(connection)
            else:
                self._no_socket(connection)
        else:
            self._take_in(connection, sid)
        waiting, connection.backlog = connection.backlog, None
        while waiting and connection.backlog is None:
            data = waiting.popleft()
            connection.backlog_size -= len(data) + 1
            self.received(connection, data)
        if connection.backlog is None:
            connection.resume()
        elif waiting:  # behind another CONNECT
            connection.backlog = waiting

    def _take_in(self, connection: Connection, sid: str) -> None:
        connection.send(Frame(f"{sio.CONNECT}{orjson.dumps({'sid': sid}).decode()}"))
        connection.connected = True
        self._sockets[sid] = connection
        self.application.connected(sid)

    async def _admitted(self, arrival: Arrival) -> bool:
        connection = arrival.connection
        try:
            await self.application.admit(arrival)
        except ArrivalRefusedError as refusal:
            self._refuse(connection, refusal)
            return False
        except ArrivalPostponedError:
            self.close(connection)
            return False
        except Exception:
            log.exception("engine.admit_failed")
            self.close(connection)
            return False
        if connection.ended:
            self.application.gone(arrival.sid, SERVER_DISCONNECT)
            return False
        return True

    def _refuse(
        self, connection: Connection, refusal: ArrivalRefusedError, namespace: str | None = None
    ) -> None:
        problem = {"message": str(refusal), "data": {"code": refusal.code}}
        packet = sio.Packet(sio.CONNECT_ERROR, problem, namespace=namespace)
        connection.send(Frame(packet.encode()))

    def _disconnect(self, connection: Connection, reason: str) -> None:
        sid, connection.socket = connection.socket, None
        connection.connected = False
        connection.attachments_due = None
        if sid is not None:
            del self._sockets[sid]
            self.application.gone(sid, reason)

    def _stop_timer(self, connection: Connection) -> None:
        if connection.timer is not None:
            connection.timer.cancel()
            connection.timer = None

    def _expect_socket(self, connection: Connection) -> None:
        if connection.timer is None and not connection.ended:
            loop = asyncio.get_running_loop()
            connection.timer = loop.call_later(self._limits.handshake_seconds, self._no_socket, connection)

    def _no_socket(self, connection: Connection) -> None:
        LIMITED.labels(HANDSHAKE_TIMEOUT).inc()
        self.close(connection)

    def _ask(self, connection: Connection, packet: Any) -> None:
        sid = connection.socket
        if sid is None or not connection.connected or (packet.namespace or "/") != "/":
            return

        def reply(answer: bytes) -> None:
            if packet.id is not None and connection.socket == sid:
                connection.send(ack_frame(packet.id, answer))

        self._run(self.application.asked(sid, packet.data[0], packet.data[1:], reply))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.create_task(_guarded(work))


async def _guarded(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:
        log.exception("engine.task_failed")
