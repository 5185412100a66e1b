"""Ends sockets from this side: out of every room at once, so that no frame of any follows."""

import structlog

from ws_gateway.engine.server import Engine
from ws_gateway.rooms.membership import Membership
from ws_gateway.rooms.subscriptions import Socket

log = structlog.get_logger()


class Disconnects:
    """Disconnects sockets for a reason, which is logged."""

    def __init__(self, *, membership: Membership, engine: Engine) -> None:
        self._membership = membership
        self._engine = engine

    def end(self, socket: Socket, reason: str) -> None:
        """Disconnects a socket; its client does not come back by itself."""
        log.info("socket.ended", sid=socket.sid, user_id=socket.user_id, reason=reason)
        self._membership.leave_all(socket)
        self._engine.drop(socket.sid)

    def close(self, socket: Socket, reason: str) -> None:
        """Closes a socket's connection; its client comes back by itself."""
        log.warning("socket.closed", sid=socket.sid, user_id=socket.user_id, reason=reason)
        self._membership.leave_all(socket)
        self._engine.close(socket.connection)
