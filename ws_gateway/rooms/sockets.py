"""The sockets of this gateway: who they belong to, and what each of them holds."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from shared.auth.tokens import Claims
from shared.http.rate_limit import TokenBucket
from ws_gateway.transport.connection import Connection

if TYPE_CHECKING:
    from ws_gateway.rooms.rooms import Subscription


JOINS_AT_ONCE: Final = 4
"""Of one socket: each may be answered with a megabyte, which waits if the client does not read."""


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    takers: int = 0


@dataclass(slots=True, eq=False)
class Socket:
    """One client's socket.

    Attributes:
        sid: its Socket.IO id, which the client knows.
        expires_at: Unix second at which `token` expires.
        bucket: what it may ask; None when that is not limited.
        patience: how often it may be refused for asking more, before it is closed.
        chats: its subscriptions of chat rooms, by room.
        own: its subscription of its user's room.
        gone: it is no more.
        timer: what its token's life waits for.
        joins: so many join-chats are answered at once.
    """

    sid: str
    connection: Connection
    user_id: str
    name: str
    session_id: str
    token: str
    expires_at: int
    bucket: TokenBucket | None = None
    patience: TokenBucket | None = None
    chats: "dict[str, Subscription]" = field(default_factory=dict)
    own: "Subscription | None" = None
    gone: bool = False
    timer: asyncio.TimerHandle | None = None
    joins: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(JOINS_AT_ONCE))
    _turns: dict[str, _Turn] = field(default_factory=dict)

    @asynccontextmanager
    async def turn(self, room: str) -> AsyncIterator[None]:
        """What a client asks about one room is done one after the other, in the order asked."""
        turn = self._turns.setdefault(room, _Turn())
        turn.takers += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.takers -= 1
            if not turn.takers:
                del self._turns[room]


class Sockets:
    """All sockets that were told that they are connected, by id and by session."""

    def __init__(self) -> None:
        self._by_sid: dict[str, Socket] = {}
        self._by_session: dict[str, set[Socket]] = {}
        self.none_left = asyncio.Event()
        self.none_left.set()

    def add(self, socket: Socket) -> None:
        """Takes a socket in."""
        self._by_sid[socket.sid] = socket
        self._by_session.setdefault(socket.session_id, set()).add(socket)
        self.none_left.clear()

    def remove(self, socket: Socket) -> None:
        """Forgets a socket; nothing happens when it is not known."""
        if self._by_sid.pop(socket.sid, None) is None:
            return
        self._leave_session(socket)
        if not self._by_sid:
            self.none_left.set()

    def get(self, sid: str) -> Socket | None:
        """The socket with this id."""
        return self._by_sid.get(sid)

    def of_session(self, session_id: str) -> list[Socket]:
        """The sockets that a session's tokens opened, or renewed."""
        return list(self._by_session.get(session_id, ()))

    def renew(self, socket: Socket, token: str, claims: Claims) -> None:
        """Gives a socket its user's newer token."""
        self._leave_session(socket)
        socket.token = token
        socket.name = claims.name
        socket.session_id = claims.session_id
        socket.expires_at = claims.expires_at
        self._by_session.setdefault(socket.session_id, set()).add(socket)

    def _leave_session(self, socket: Socket) -> None:
        others = self._by_session[socket.session_id]
        others.discard(socket)
        if not others:
            del self._by_session[socket.session_id]

    def __iter__(self) -> Iterator[Socket]:
        return iter(list(self._by_sid.values()))

    def __len__(self) -> int:
        return len(self._by_sid)
