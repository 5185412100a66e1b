"""Opens WebSockets straight on their TCP connections: new ones, and those that polling clients go over to."""

import asyncio

from ws_gateway.limits import Limits
from ws_gateway.transport.connection import Sessions
from ws_gateway.transport.frames import Wire
from ws_gateway.transport.heartbeat import Heartbeat
from ws_gateway.transport.open_websockets import OpenWebSockets
from ws_gateway.transport.polling.connection import PollingConnection
from ws_gateway.transport.websocket import Owner, WebSocket
from ws_gateway.transport.websocket_connection import WebSocketConnection


class WebSocketOpener:
    """Makes WebSockets of TCP connections. `accepted` is the HTTP answer that says so, which goes first.

    Attributes:
        opened: all that are open.
    """

    def __init__(self, sessions: Sessions, *, limits: Limits) -> None:
        self._sessions = sessions
        self._limits = limits
        self._heartbeat = Heartbeat()
        self.opened = OpenWebSockets()

    def open(
        self, transport: asyncio.Transport, accepted: bytes, *, origin: str | None, address: str
    ) -> WebSocket:
        """Opens the WebSocket that a client asked for, as its connection."""
        connection = WebSocketConnection(self._sessions, origin=origin, address=address)
        websocket = self._websocket(transport, connection)
        websocket.send(Wire(accepted))
        connection.open(websocket, max_payload=self._limits.max_payload)
        self._heartbeat.add(connection)
        return websocket

    def open_upgrade(
        self, transport: asyncio.Transport, accepted: bytes, *, polling: PollingConnection
    ) -> WebSocket:
        """Opens the WebSocket that a polling client wants to go on over."""
        upgrade = polling.upgrade()
        websocket = self._websocket(transport, upgrade)
        websocket.send(Wire(accepted))
        upgrade.websocket = websocket
        asyncio.get_running_loop().call_later(self._limits.handshake_seconds, upgrade.give_up)
        return websocket

    def stop(self) -> None:
        """Sends no more pings."""
        self._heartbeat.stop()

    def _websocket(self, transport: asyncio.Transport, owner: Owner) -> WebSocket:
        return WebSocket(
            transport,
            owner,
            all_=self.opened,
            max_message=self._limits.max_payload,
            max_waiting=self._limits.max_waiting,
            frame_rate=self._limits.flood_bucket() if self._limits.limited else None,
        )
