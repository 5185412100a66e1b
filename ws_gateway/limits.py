"""What one socket may use of a gateway."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds per socket.

    Attributes:
        max_payload: bytes of one message, or of one long-polling body, from a client.
        max_rooms: chats that a socket may be in at once.
        events_per_second: what a client may ask for in the long run.
        burst: how much of it at once; a client that comes back joins all its rooms in one go.
        max_waiting: bytes of events that may wait for a client that does not read.
        held_events: events of a room that are kept while a socket joins it.
        limited: whether `events_per_second` and `burst` are kept to.
    """

    max_payload: int = 65536
    max_rooms: int = 200
    events_per_second: int = 100
    burst: int = 250
    max_waiting: int = 1024 * 1024
    held_events: int = 4096
    limited: bool = True


class TokenBucket:
    """Lets `rate` a second through, and `burst` at once."""

    __slots__ = ("_burst", "_clock", "_filled_at", "_rate", "_tokens")

    def __init__(self, *, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = burst
        self._filled_at = clock()

    def take(self) -> bool:
        """Whether one more may pass now."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
