"""Engine.IO's heartbeat: pings connections at their intervals, and ends those that do not answer in time."""

import asyncio
from collections import deque
from typing import Final, Protocol

PING_INTERVAL_SECONDS: Final = 25
PING_TIMEOUT_SECONDS: Final = 20


class Pinged(Protocol):
    """A connection that is pinged.

    Attributes:
        ended: it is no more.
        answered: the client has answered the last ping.
    """

    ended: bool
    answered: bool

    def ping(self) -> None:
        """Sends a ping; `answered` is false from then on, until the client answers."""

    def timed_out(self) -> None:
        """Ends the connection, whose client has not answered."""


class Heartbeat:
    """The pings of all connections: one timer for all."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due: deque[tuple[float, Pinged]] = deque()
        self._asked: deque[tuple[float, Pinged]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Pinged) -> None:
        """Pings `connection` for as long as it lasts."""
        self._due.append((self._loop.time() + PING_INTERVAL_SECONDS, connection))
        if self._timer is None:
            self._wait()

    def stop(self) -> None:
        """Pings no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        now = self._loop.time()
        while self._asked and self._asked[0][0] <= now:
            _, connection = self._asked.popleft()
            if not connection.ended and not connection.answered:
                connection.timed_out()
        while self._due and self._due[0][0] <= now:
            _, connection = self._due.popleft()
            if not connection.ended:
                connection.ping()
                self._asked.append((now + PING_TIMEOUT_SECONDS, connection))
                self._due.append((now + PING_INTERVAL_SECONDS, connection))
        self._wait()

    def _wait(self) -> None:
        """Sets the timer for the one that is first, once a second at most."""
        first = [waiting[0][0] for waiting in (self._asked, self._due) if waiting]
        if first:
            self._timer = self._loop.call_at(max(min(first), self._loop.time() + 1.0), self._tick)
        else:
            self._timer = None
