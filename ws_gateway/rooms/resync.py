"""Tells sockets that may have missed something to join again.

Their memberships are suspects from then on, which `membership_recheck` looks at: sockets that do join again
by then are none any more.
"""

import random
from collections.abc import Callable
from typing import Final

from ws_gateway.metrics import RESYNCS
from ws_gateway.rooms.fanout import Fanout
from ws_gateway.rooms.membership_recheck import Suspects
from ws_gateway.rooms.rooms import Rooms
from ws_gateway.rooms.sockets import Sockets
from ws_gateway.rooms.subscriptions import CHAT_PREFIX, Socket

SPREAD_MS: Final = 2_000
SPREAD_PER_SOCKET_MS: Final = 2
LONGEST_SPREAD_MS: Final = 30_000


class Resync:
    """Sends `resync`, each socket with a time of its own, so that they come spread over time."""

    def __init__(
        self,
        *,
        sockets: Sockets,
        rooms: Rooms,
        fanout: Fanout,
        suspects: Suspects,
        spread: Callable[[int], int] = lambda most: random.randint(0, most),  # noqa: S311  # spreads load
    ) -> None:
        self._sockets = sockets
        self._rooms = rooms
        self._fanout = fanout
        self._suspects = suspects
        self._spread = spread

    def everyone(self) -> None:
        """Tells all sockets: any event may have been missed."""
        for socket in self._sockets:
            self._emit_resync(socket, None)
            self._suspects.add(list(socket.chats.values()))

    def rooms(self, missed: frozenset[str] | None) -> None:
        """Tells the sockets in these rooms, of which events may have been missed; None: of any room."""
        if missed is None:
            self.everyone()
            return
        for room in missed:
            subscriptions = list(self._rooms.of(room).values())
            chat_id = room.removeprefix(CHAT_PREFIX) if room.startswith(CHAT_PREFIX) else None
            for subscription in subscriptions:
                if self._sockets.get(subscription.socket.sid) is not None:  # told that it is connected
                    self._emit_resync(subscription.socket, chat_id)
            if chat_id is not None:
                self._suspects.add(subscriptions)

    def _emit_resync(self, socket: Socket, chat_id: str | None) -> None:
        most = min(LONGEST_SPREAD_MS, max(SPREAD_MS, len(self._sockets) * SPREAD_PER_SOCKET_MS))
        self._fanout.emit(socket, "resync", {"chatId": chat_id, "inMs": self._spread(most)})
        RESYNCS.inc()
