"""The Socket.IO server: connections, the sockets on them, and what is done with each of clients' packets."""

import asyncio
import secrets
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final

import structlog
from aiohttp import web
from socketio import packet as sio

from ws_gateway.engine import packets
from ws_gateway.engine.application import Application, Arrival, ArrivalPostponedError, ArrivalRefusedError
from ws_gateway.engine.websocket_opener import WebSocketOpener
from ws_gateway.limits import Limits
from ws_gateway.metrics import CONNECTIONS, HANDSHAKE_TIMEOUT, LIMITED, SLOW_CONSUMERS
from ws_gateway.transport.connection import CLIENT_DISCONNECT, SERVER_DISCONNECT, SLOW_CONSUMER, Connection
from ws_gateway.transport.frames import ack_frame
from ws_gateway.transport.polling.connection import PollingConnection
from ws_gateway.transport.polling.server import PollingServer

log = structlog.get_logger()

MAX_REFUSALS: Final = 20
"""So often may a connection ask for a socket in vain; each time it has `handshake_seconds` for the next."""


class Engine:
    """The Socket.IO server. `tasks` runs what clients ask.

    Attributes:
        application: set before the first client comes.
        websockets: opens WebSockets straight on their TCP connections.
        direct: clients may have those.
    """

    application: Application

    def __init__(self, *, tasks: asyncio.TaskGroup, limits: Limits) -> None:
        self._tasks = tasks
        self._limits = limits
        self._connections: set[Connection] = set()
        self._sockets: dict[str, Connection] = {}
        self.websockets = WebSocketOpener(self, limits=limits)
        self._polling = PollingServer(self, limits=limits, run=self._run)
        self.direct = self._polling.holds

    @property
    def connections(self) -> int:
        """Returns how many connections there are, with a socket or without."""
        return len(self._connections)

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        """Answers an Engine.IO request that came over HTTP."""
        return await self._polling.handle_request(request)

    def upgradable(self, eio_sid: str) -> PollingConnection | None:
        """Returns the polling connection with this id if it may go on over a WebSocket."""
        return self._polling.upgradable(eio_sid)

    # --- ends ---

    def drop(self, sid: str) -> None:
        """Disconnects a socket by a DISCONNECT packet: clients do not come back by themselves.

        The connection is closed a while later if the client leaves it open.
        """
        connection = self._sockets.get(sid)
        if connection is None or not connection.connected:
            return
        connection.send(packets.DISCONNECT)
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
                await self.websockets.opened.none_left.wait()
                await self._polling.no_websockets.wait()
        except TimeoutError:
            self.websockets.opened.abort()
            self._polling.abort()
        self.websockets.stop()
        await self._polling.end()

    # --- what connections tell ---

    def opened(self, connection: Connection) -> None:
        """Takes in a connection that a client has opened."""
        self._connections.add(connection)
        CONNECTIONS.set(len(self._connections))
        self._expect_socket(connection)

    def lost(self, connection: Connection, reason: str) -> None:
        """Forgets a connection that is no more, and its socket; safe to repeat."""
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
        """Cuts the connection of a slow consumer: it does not take what waits for it."""
        log.warning("engine.slow_consumer", connection=connection.sid, waiting_bytes=waiting)
        SLOW_CONSUMERS.inc()
        LIMITED.labels("slow_consumer").inc()
        # Its rooms are being gone through right now.
        asyncio.get_running_loop().call_soon(self._cut, connection)

    def _cut(self, connection: Connection) -> None:
        self.lost(connection, SLOW_CONSUMER)
        connection.abort()

    def failed(self, connection: Connection, reason: str) -> None:
        """Closes the connection of a client that sent what makes no sense."""
        log.info("engine.bad_packet", reason=reason)
        self.close(connection)

    def received(self, connection: Connection, data: str | bytes) -> None:
        """Handles a message; while the client's CONNECT is looked at, what follows waits."""
        if connection.ended:
            return
        if connection.backlog is not None:
            connection.backlog.append(data)
            connection.backlog_size += len(data) + 1  # what says that it is a message
            if connection.backlog_size > self._limits.max_payload:
                self.failed(connection, "too much before its socket was let in")
            return
        try:
            packet = packets.decode(connection, data)
        except packets.BadPacketError as error:
            self.failed(connection, str(error))
            return
        match packet and packet.packet_type:
            case sio.CONNECT:
                self._handle_connect(connection, packet.namespace, packet.data)
            case sio.DISCONNECT:
                if connection.connected and (packet.namespace or "/") == "/":
                    self._disconnect(connection, CLIENT_DISCONNECT)
                    self._expect_socket(connection)
            case sio.EVENT | sio.BINARY_EVENT:
                self._handle_event(connection, packet)
            case _:
                pass  # attachments to come, or an acknowledgement: nothing is ever asked of clients

    # --- sockets ---

    def _handle_connect(self, connection: Connection, namespace: str | None, auth: object) -> None:
        if (namespace or "/") != "/":
            refusal = packets.connect_error_frame(
                "invalid_namespace", "Invalid namespace", namespace=namespace
            )
            connection.send(refusal)
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
                self._close_without_socket(connection)
        else:
            self._connected(connection, sid)
        waiting, connection.backlog = connection.backlog, None
        while waiting and connection.backlog is None:
            data = waiting.popleft()
            connection.backlog_size -= len(data) + 1
            self.received(connection, data)
        if connection.backlog is None:
            connection.resume()
        elif waiting:  # behind another CONNECT
            connection.backlog = waiting

    def _connected(self, connection: Connection, sid: str) -> None:
        connection.send(packets.connect_frame(sid))
        connection.connected = True
        self._sockets[sid] = connection
        self.application.connected(sid)

    async def _admitted(self, arrival: Arrival) -> bool:
        connection = arrival.connection
        try:
            await self.application.admit(arrival)
        except ArrivalRefusedError as refusal:
            connection.send(packets.connect_error_frame(refusal.code, str(refusal)))
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
            connection.timer = loop.call_later(
                self._limits.handshake_seconds, self._close_without_socket, connection
            )

    def _close_without_socket(self, connection: Connection) -> None:
        LIMITED.labels(HANDSHAKE_TIMEOUT).inc()
        self.close(connection)

    def _handle_event(self, connection: Connection, packet: Any) -> None:
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
