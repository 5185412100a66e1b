"""The limits of a gateway: what one socket, one user and all together may use of it."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from shared.http.rate_limit import TokenBucket
from ws_gateway.settings import GatewaySettings


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one gateway process.

    Attributes:
        max_payload: bytes of one message, or of one long-polling body, from a client.
        max_rooms: chats that a socket may be in at once.
        events_per_second: what a socket may ask for in the long run.
        burst: how much of it at once; a client that comes back joins all its rooms in one go.
        max_waiting: bytes of events that may wait for a client that does not read.
        sockets_per_user: sockets of one user at once.
        max_sockets: sockets at once.
        http_connections: TCP connections at once that are no WebSockets, not yet or never.
        http_connections_per_address: the same from one address.
        handshakes_per_second: connections that may be opened in the long run, by all together.
        handshakes_per_address: the same from one address.
        handshake_seconds: for each step from the TCP connection to the socket.
        join_buffer_events: events of a room that are kept while a socket joins it.
        limited: whether rates, `sockets_per_user` and `http_connections_per_address` are kept to.
    """

    max_payload: int = 65_536
    max_rooms: int = 200
    events_per_second: int = 100
    burst: int = 250
    max_waiting: int = 1024 * 1024
    sockets_per_user: int = 250
    max_sockets: int = 50_000
    http_connections: int = 10_000
    http_connections_per_address: int = 1000
    handshakes_per_second: int = 500
    handshakes_per_address: int = 250
    handshake_seconds: float = 10.0
    join_buffer_events: int = 4096
    limited: bool = True

    def flood_bucket(self, clock: Callable[[], float] = time.monotonic) -> TokenBucket:
        """Returns the bucket that a client empties by flooding; it is cut off then."""
        return TokenBucket(
            rate=FLOOD_FACTOR * self.events_per_second, burst=FLOOD_FACTOR * self.burst, clock=clock
        )

    @classmethod
    def of(cls, settings: GatewaySettings) -> Self:
        """Returns the limits as configured."""
        return cls(
            max_payload=settings.gateway_max_payload,
            max_rooms=settings.gateway_max_rooms,
            events_per_second=settings.gateway_events_per_second,
            burst=settings.gateway_events_burst,
            max_waiting=settings.gateway_max_waiting,
            sockets_per_user=settings.gateway_sockets_per_user,
            max_sockets=settings.gateway_max_sockets,
            http_connections=settings.gateway_http_connections,
            http_connections_per_address=settings.gateway_http_connections_per_address,
            handshakes_per_second=settings.gateway_handshakes_per_second,
            handshakes_per_address=settings.gateway_handshakes_per_address,
            handshake_seconds=settings.gateway_handshake_seconds,
            limited=settings.rate_limits,
        )


FLOOD_FACTOR: Final = 10
"""A client that sends so many times as much as it may is cut off: refusing costs as well."""


class ConcurrencyLimit:
    """At most so many at once for each key; None: as many as come."""

    def __init__(self, each: int | None) -> None:
        self._each = each
        self._held: Counter[str] = Counter()

    def acquire(self, key: str) -> bool:
        """Takes a place of `key`; returns whether there was one."""
        if self._each is not None and self._held[key] >= self._each:
            return False
        self._held[key] += 1
        return True

    def release(self, key: str) -> None:
        """Gives a place back."""
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]
