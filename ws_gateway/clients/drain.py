"""Stops gracefully: every socket is told when to come back elsewhere, and then closed."""

import random
from typing import Final

import structlog

from shared.concurrency.waiting import wait_for_event
from ws_gateway.engine.server import Engine
from ws_gateway.rooms.fanout import Fanout
from ws_gateway.rooms.sockets import Sockets

log = structlog.get_logger()

SHORTEST_MS: Final = 500
PER_SOCKET_MS: Final = 2
GRACE_SECONDS: Final = 5.0
"""The longest time that sockets are kept after they were told."""
CLOSE_SECONDS: Final = 2.0


class Drain:
    """The graceful shutdown of a gateway.

    Attributes:
        started: no socket is let in any more.
    """

    def __init__(self, *, sockets: Sockets, fanout: Fanout, engine: Engine) -> None:
        self._sockets = sockets
        self._fanout = fanout
        self._engine = engine
        self.started = False

    async def run(self) -> None:
        """Tells the sockets, each to wait another while; returns when all connections are closed.

        Sockets have until the last of those delays, but five seconds at most, to go by themselves.
        """
        self.started = True
        sockets = list(self._sockets)
        random.shuffle(sockets)
        for place, socket in enumerate(sockets):
            delay = SHORTEST_MS + place * PER_SOCKET_MS
            self._fanout.emit(socket, "server-draining", {"reconnectInMs": delay})
        last = (SHORTEST_MS + len(sockets) * PER_SOCKET_MS) / 1000
        log.info("drain.started", sockets=len(sockets))
        await self._wait_for_none(min(GRACE_SECONDS, last))
        for socket in self._sockets:
            self._engine.close(socket.connection)
        await self._wait_for_none(CLOSE_SECONDS)
        await self._engine.end(CLOSE_SECONDS)

    async def _wait_for_none(self, seconds: float) -> None:
        if not await wait_for_event(self._sockets.none_left, seconds=seconds):
            log.info("drain.sockets_left", sockets=len(self._sockets))
