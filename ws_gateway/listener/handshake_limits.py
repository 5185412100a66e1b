"""Bounds handshakes, and connections in all, before anything is spent on them."""

import time
from collections.abc import Callable
from typing import Final

from shared.http.proxies import rate_limit_key
from shared.http.rate_limit import RateLimit
from ws_gateway.limits import Limits
from ws_gateway.listener.refusal import FULL_RETRY_SECONDS, Refusal
from ws_gateway.metrics import LIMITED

BURST_SECONDS: Final = 4
"""Handshakes of so many seconds may come at once."""


class Admission:
    """Bounds on handshakes, and on connections in all; `connections` says how many there are."""

    def __init__(
        self,
        limits: Limits,
        *,
        connections: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max = limits.max_sockets
        self._connections = connections
        self._all = _rate(limits.handshakes_per_second, limits, clock)
        self._each = _rate(limits.handshakes_per_address, limits, clock)

    def admits(self, address: str) -> bool:
        """Returns whether a client at `address` may open a connection now, which counts then.

        Where it may not, that is not counted as a refusal before `refusal` says why.
        """
        return self._take(rate_limit_key(address)) is None

    def refusal(self, address: str) -> Refusal | None:
        """Returns why a client at `address` may not open a connection now; None counts as opened."""
        refusal = self._take(rate_limit_key(address))
        if refusal is not None:
            LIMITED.labels(refusal.code).inc()
        return refusal

    def _take(self, key: str) -> Refusal | None:
        if self._connections() >= self._max:
            return Refusal(503, "gateway_full", "This gateway holds all that it may.", FULL_RETRY_SECONDS)
        # What one address has too much takes nothing from others, nor what all have too much from an address.
        if wait := self._each.wait(key):
            return Refusal(429, "too_many_handshakes", "Too many connections from this address.", wait)
        if wait := self._all.take(None):
            return Refusal(503, "gateway_busy", "Too many connections are being opened.", wait)
        self._each.take(key)
        return None


def _rate(per_second: int, limits: Limits, clock: Callable[[], float]) -> RateLimit:
    return RateLimit(rate=per_second, burst=BURST_SECONDS * per_second, on=limits.limited, clock=clock)
