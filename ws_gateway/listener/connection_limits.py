"""Bounds the TCP connections that are no WebSockets: not yet, or never."""

from collections import Counter, OrderedDict, defaultdict
from enum import Enum, auto
from typing import Final, Protocol

from shared.http.proxies import Proxies, rate_limit_key
from ws_gateway.limits import Limits
from ws_gateway.listener.refusal import FULL_RETRY_SECONDS, Refusal
from ws_gateway.metrics import HTTP_CONNECTIONS

TOO_MANY: Final = "too_many_connections"
OPERATORS: Final = 16
"""So many more come in at once, who ask whether the gateway is alive: it is not restarted for being full."""


class _Full(Enum):
    """The bound that leaves no place."""

    ADDRESS = auto()
    GATEWAY = auto()


_REFUSALS: Final = {
    _Full.ADDRESS: Refusal(429, TOO_MANY, "Too many connections from this address.", FULL_RETRY_SECONDS),
    _Full.GATEWAY: Refusal(503, TOO_MANY, "This gateway holds all that it may.", FULL_RETRY_SECONDS),
}


class LimitedConnection(Protocol):
    """A connection that has a place, and may be idle.

    Attributes:
        peer: the address of its other end.
    """

    peer: str

    def close(self) -> None:
        """Ends it; its place is free at once."""


class ConnectionLimit:
    """Counts connections from their first moment on, in all and by address; idle ones make room for others.

    Trusted proxies have as many as there may be in all: they speak for many.
    """

    def __init__(self, limits: Limits, proxies: Proxies) -> None:
        self._most = limits.http_connections
        self._each = limits.http_connections_per_address
        self._one_may_have_all = not limits.limited
        self._proxies = proxies
        self._by_key: Counter[str] = Counter()
        self._all = 0
        self._idle: OrderedDict[LimitedConnection, str] = OrderedDict()
        self._idle_by_key: defaultdict[str, OrderedDict[LimitedConnection, None]] = defaultdict(OrderedDict)

    def take(self, peer: str) -> Refusal | None:
        """Gives a connection from `peer` a place, until its `release`; returns why not, if there is none.

        Where none is free, connections that idle are closed, the longest idle first.
        """
        key = rate_limit_key(peer)
        while (full := self._full(key, peer)) is not None:
            idle = self._idle if full is _Full.GATEWAY else self._idle_by_key.get(key)
            longest_idle = next(iter(idle or ()), None)
            if longest_idle is None:
                return _REFUSALS[full]
            longest_idle.close()  # which releases its place
        self.take_anyway(peer)
        return None

    def take_as_operator(self, peer: str) -> bool:
        """Gives a place beyond the bounds to a connection that asks after the gateway; no idle one is closed.

        Returns:
            False when there is none.
        """
        if self._full(rate_limit_key(peer), peer, beyond=OPERATORS) is not None:
            return False
        self.take_anyway(peer)
        return True

    def take_anyway(self, peer: str) -> None:
        """Gives a place to a connection that is no WebSocket after all, whether there is one or not."""
        self._by_key[rate_limit_key(peer)] += 1
        self._all += 1
        HTTP_CONNECTIONS.set(self._all)

    def release(self, peer: str) -> None:
        """Gives back the place of a connection that is gone, or a WebSocket."""
        key = rate_limit_key(peer)
        self._by_key[key] -= 1
        if not self._by_key[key]:
            del self._by_key[key]
        self._all -= 1
        HTTP_CONNECTIONS.set(self._all)

    def mark_idle(self, connection: LimitedConnection) -> None:
        """Notes that nothing is asked on a connection now."""
        key = rate_limit_key(connection.peer)
        self._idle[connection] = key
        self._idle_by_key[key][connection] = None

    def mark_busy(self, connection: LimitedConnection) -> None:
        """Notes that something is asked on a connection, or that it is gone; safe to repeat."""
        key = self._idle.pop(connection, None)
        if key is not None:
            del self._idle_by_key[key][connection]
            if not self._idle_by_key[key]:
                del self._idle_by_key[key]

    def _full(self, key: str, peer: str, *, beyond: int = 0) -> _Full | None:
        """Returns the bound that leaves no place, widened by `beyond`; None when there is one."""
        one_may_have_all = self._one_may_have_all or self._proxies.trusts(peer)
        if not one_may_have_all and self._by_key[key] >= self._each + beyond:
            return _Full.ADDRESS
        if self._all >= self._most + beyond:
            return _Full.GATEWAY
        return None
