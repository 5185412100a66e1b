"""Whether one more connection may be opened: looked at before anything is spent on it."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import orjson
from aiohttp import hdrs, web

from shared.http.proxies import rate_limit_key
from shared.http.rate_limit import RateLimit
from ws_gateway.limits import Limits
from ws_gateway.metrics import LIMITED

BURST_SECONDS: Final = 4
"""Handshakes of so many seconds may come at once."""
FULL_RETRY_SECONDS: Final = 5


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a connection is not opened, as HTTP: Socket.IO clients try again by themselves after it."""

    status: int
    code: str
    message: str
    retry_after: float

    def response(self) -> web.Response:
        """The answer, with `Retry-After`."""
        return web.Response(
            status=self.status,
            body=self._body,
            content_type="application/json",
            headers={hdrs.RETRY_AFTER: self._seconds},
        )

    def wire(self) -> bytes:
        """The same for who has not asked yet; the connection ends with it."""
        body = self._body
        head = (
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nRetry-After: {self._seconds}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + body

    @property
    def _body(self) -> bytes:
        return orjson.dumps({"code": self.code, "message": self.message})

    @property
    def _seconds(self) -> str:
        return str(max(1, math.ceil(self.retry_after)))


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
        """Whether a client at `address` may open a connection now, which counts then.

        Where it may not, it is not counted as turned away before `turned_away` says why.
        """
        return self._refusal(rate_limit_key(address)) is None

    def turned_away(self, address: str) -> Refusal | None:
        """Why a client at `address` may not open a connection now; None when it may, which counts then."""
        refusal = self._refusal(rate_limit_key(address))
        if refusal is not None:
            LIMITED.labels(refusal.code).inc()
        return refusal

    def _refusal(self, customer: str) -> Refusal | None:
        if self._connections() >= self._max:
            return Refusal(503, "gateway_full", "This gateway holds all that it may.", FULL_RETRY_SECONDS)
        # What one address has too much takes nothing from others, nor what all have too much from an address.
        if wait := self._each.wait(customer):
            return Refusal(429, "too_many_handshakes", "Too many connections from this address.", wait)
        if wait := self._all.take(None):
            return Refusal(503, "gateway_busy", "Too many connections are being opened.", wait)
        self._each.take(customer)
        return None


def _rate(per_second: int, limits: Limits, clock: Callable[[], float]) -> RateLimit:
    return RateLimit(rate=per_second, burst=BURST_SECONDS * per_second, on=limits.limited, clock=clock)
