"""The registry of sockets that were told that they are connected, by id and by session."""

import asyncio
from collections.abc import Iterator

from shared.auth.tokens import Claims
from ws_gateway.rooms.subscriptions import Socket


class Sockets:
    """All sockets of this gateway, from when they are told that they are connected until they are gone.

    Attributes:
        none_left: there are none.
    """

    def __init__(self) -> None:
        self._by_sid: dict[str, Socket] = {}
        self._by_session: dict[str, set[Socket]] = {}
        self.none_left = asyncio.Event()
        self.none_left.set()

    def add(self, socket: Socket) -> None:
        """Adds a socket."""
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
        """Returns the socket with this id."""
        return self._by_sid.get(sid)

    def of_session(self, session_id: str) -> list[Socket]:
        """Returns the sockets that a session's tokens opened, or renewed."""
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
