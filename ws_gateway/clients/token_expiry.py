"""Disconnects a socket when its token expires, with a warning a minute before."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from shared.ids import rfc3339
from ws_gateway.rooms.fanout import Fanout
from ws_gateway.rooms.subscriptions import Socket

WARNING_SECONDS: Final = 60
_FARTHEST_SECONDS: Final = 86_400.0


class TokenExpiry:
    """Warns each socket a minute before its token expires, or at once when less is left; then ends it."""

    def __init__(
        self, *, fanout: Fanout, end: Callable[[Socket, str], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._fanout = fanout
        self._end = end
        self._clock = clock

    def start(self, socket: Socket) -> None:
        """Watches the socket's token, instead of one that it had before."""
        self.stop(socket)
        self._wait(socket, socket.expires_at - WARNING_SECONDS, self._warn)

    def stop(self, socket: Socket) -> None:
        """Watches no longer."""
        if socket.timer is not None:
            socket.timer.cancel()
            socket.timer = None

    def _warn(self, socket: Socket) -> None:
        self._fanout.emit(socket, "token-expiring", {"expiresAt": unix_time_text(socket.expires_at)})
        self._wait(socket, socket.expires_at, lambda expired: self._end(expired, "token_expired"))

    def _wait(self, socket: Socket, until: float, then: Callable[[Socket], None]) -> None:
        """Calls `then` at `until` by the wall clock, which may be set and which timers do not follow."""
        left = until - self._clock()
        if left <= 0:
            socket.timer = None
            then(socket)
            return
        loop = asyncio.get_running_loop()
        socket.timer = loop.call_later(min(left, _FARTHEST_SECONDS), self._wait, socket, until, then)


def unix_time_text(seconds: float) -> str:
    """Returns a Unix time as the contract writes times."""
    return rfc3339(datetime.fromtimestamp(seconds, UTC))
