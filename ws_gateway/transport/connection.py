"""A client's connection, whichever way its packets travel."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, Final, Protocol

from ws_gateway.transport.frames import Burst, Frame

SERVER_DISCONNECT: Final = "server disconnect"
CLIENT_DISCONNECT: Final = "client disconnect"
TRANSPORT_CLOSE: Final = "transport close"
PING_TIMEOUT: Final = "ping timeout"
SLOW_CONSUMER: Final = "slow consumer"


class Sender(Protocol):
    """Queues frames to one client."""

    def send(self, frame: Frame) -> None:
        """Queues a frame; never waits."""

    def send_burst(self, burst: Burst) -> None:
        """Queues frames, in one step where that is cheaper."""


class Connection(ABC):
    """An Engine.IO session, and what the Socket.IO engine notes of it.

    Attributes:
        sid: its Engine.IO id, which its client knows.
        origin: the `Origin` header of its first request.
        address: where its client is: its peer, or whom trusted proxies speak for; "" when unknown.
        socket: the id of its Socket.IO socket, from the client's CONNECT on.
        connected: the client was told that its socket is connected.
        ended: it is no more; nothing is sent or received.
        backlog: what came while the client's CONNECT is looked at, which goes first; else None.
        backlog_size: its bytes, or characters.
        attachments_due: a packet whose attachments are still to come.
        refusals: how often its client asked for a socket in vain.
        timer: ends it when no socket comes.
    """

    __slots__ = (
        "address",
        "attachments_due",
        "backlog",
        "backlog_size",
        "connected",
        "ended",
        "origin",
        "refusals",
        "sid",
        "socket",
        "timer",
    )

    def __init__(self, sid: str, *, origin: str | None, address: str) -> None:
        self.sid = sid
        self.origin = origin
        self.address = address
        self.socket: str | None = None
        self.connected = False
        self.ended = False
        self.backlog: deque[str | bytes] | None = None
        self.backlog_size = 0
        self.attachments_due: Any = None
        self.refusals = 0
        self.timer: asyncio.TimerHandle | None = None

    @abstractmethod
    def send(self, frame: Frame) -> None:
        """Queues a frame; never waits. What is queued arrives in that order, or not at all.

        Where the client does not take what waits for it, frames that are droppable are left out; where that
        is not enough, it is closed, and nothing is queued after the hole.
        """

    @property
    def sender(self) -> Sender:
        """Returns the one that takes what is sent from here on: this connection, or what it would call."""
        return self

    def send_burst(self, burst: Burst) -> None:
        """Queues frames, in one step where that is cheaper."""
        for frame in burst.frames:
            self.send(frame)

    async def writable(self) -> None:  # noqa: B027  # where nothing tells, nobody waits
        """Returns when the client takes what is sent to it; then something large may follow."""

    @abstractmethod
    def close(self) -> None:
        """Ends it once what is queued is sent, in a way after which clients come back by themselves."""

    @abstractmethod
    def abort(self) -> None:
        """Ends it at once: its client does not read, so it would not read a farewell either."""

    def hold(self) -> None:  # noqa: B027  # long-polling cannot
        """Stops reading from the client for now, where that is possible."""

    def resume(self) -> None:  # noqa: B027  # long-polling cannot
        """Reads from the client again."""


class Sessions(Protocol):
    """The Socket.IO engine, as connections know it: it handles what comes on them."""

    def opened(self, connection: Connection) -> None:
        """Takes in a connection that a client has opened."""

    def received(self, connection: Connection, data: str | bytes) -> None:
        """Handles an Engine.IO message."""

    def failed(self, connection: Connection, reason: str) -> None:
        """Closes the connection of a client that sent what makes no sense."""

    def slow(self, connection: Connection, waiting: int) -> None:
        """Cuts the connection of a slow consumer, for which so many bytes wait."""

    def lost(self, connection: Connection, reason: str) -> None:
        """Forgets a connection that is no more; safe to repeat."""


class OverWebSocket(Connection):
    """A connection whose packets travel over a WebSocket, now or later; the WebSocket's owner."""

    __slots__ = ("_sessions",)

    def __init__(self, sid: str, sessions: Sessions, *, origin: str | None, address: str) -> None:
        super().__init__(sid, origin=origin, address=address)
        self._sessions = sessions

    @abstractmethod
    def ponged(self) -> None:
        """Notes that the client has answered a ping."""

    def received(self, data: str | bytes) -> None:
        """Handles an Engine.IO packet from the WebSocket."""
        if isinstance(data, bytes):
            self._sessions.received(self, data)
            return
        match data[:1]:
            case "4":
                self._sessions.received(self, data[1:])
            case "3":
                self.ponged()
            case "1":
                self._sessions.lost(self, CLIENT_DISCONNECT)
                self.close()
            case "0" | "2" | "5" | "6":
                pass  # OPEN, PING, UPGRADE, NOOP ask for nothing here
            case _:
                self._sessions.failed(self, "no Engine.IO packet")

    def slow(self, waiting: int) -> None:
        """Reports a slow consumer: too much waits for the client."""
        self._sessions.slow(self, waiting)
