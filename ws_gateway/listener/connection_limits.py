"""How many TCP connections there may be that are no WebSockets: not yet, or never."""

from collections import Counter, OrderedDict, defaultdict
from typing import Final, Protocol

from shared.http.proxies import Proxies, rate_limit_key
from ws_gateway.limits import Limits
from ws_gateway.listener.handshake_limits import FULL_RETRY_SECONDS, Refusal
from ws_gateway.metrics import HTTP_CONNECTIONS

TOO_MANY: Final = "too_many_connections"
_OF_ONE: Final = 429
_OF_ALL: Final = 503
OPERATORS: Final = 16
"""So many more come in at once, who ask whether the gateway is alive: it is not restarted for being full."""


class Visitor(Protocol):
    """A connection that may be idle.

    Attributes:
        peer: the address of its other end.
    """

    peer: str

    def close(self) -> None:
        """Ends it."""


class ConnectionLimit:
    """Counts connections from their first moment on, in all and by address; idle ones make room for others.

    Trusted proxies have as many as there may be in all: they speak for many.
    """

    def __init__(self, limits: Limits, proxies: Proxies) -> None:
        self._most = limits.http_connections
        self._each = limits.http_connections_per_address
        self._one_may_have_all = not limits.limited
        self._proxies = proxies
        self._here: Counter[str] = Counter()
        self._all = 0
        self._idle: OrderedDict[Visitor, str] = OrderedDict()
        self._idle_of: defaultdict[str, OrderedDict[Visitor, None]] = defaultdict(OrderedDict)

    def turned_away(self, peer: str) -> Refusal | None:
        """Why a connection from `peer` may not stay; None when it may: it has a place until it has `left`."""
        refusal = self._refusal(rate_limit_key(peer), peer)
        if refusal is None:
            self.came(peer)
        return refusal

    def operator_came(self, peer: str) -> bool:
        """Whether one for whom there was no place may stay, as it asks after the gateway; it has one then."""
        if self._are_full(rate_limit_key(peer), peer, beyond=OPERATORS) is not None:
            return False
        self.came(peer)
        return True

    def came(self, peer: str) -> None:
        """A connection has a place, whether there was one or not: it is no WebSocket after all."""
        self._here[rate_limit_key(peer)] += 1
        self._all += 1
        HTTP_CONNECTIONS.set(self._all)

    def left(self, peer: str) -> None:
        """A connection that had a place is gone, or a WebSocket."""
        customer = rate_limit_key(peer)
        self._here[customer] -= 1
        if not self._here[customer]:
            del self._here[customer]
        self._all -= 1
        HTTP_CONNECTIONS.set(self._all)

    def idle(self, visitor: Visitor) -> None:
        """Nothing is asked on this connection now."""
        customer = rate_limit_key(visitor.peer)
        self._idle[visitor] = customer
        self._idle_of[customer][visitor] = None

    def busy(self, visitor: Visitor) -> None:
        """Something is, or it is gone; safe to repeat."""
        customer = self._idle.pop(visitor, None)
        if customer is not None:
            del self._idle_of[customer][visitor]
            if not self._idle_of[customer]:
                del self._idle_of[customer]

    def _refusal(self, customer: str, peer: str) -> Refusal | None:
        """Why there is no place, though one that idles would be given; an operator's is not."""
        while (refusal := self._are_full(customer, peer)) is not None:
            idle = self._idle if refusal.status == _OF_ALL else self._idle_of.get(customer)
            longest_idle = next(iter(idle or ()), None)
            if longest_idle is None:
                return refusal
            longest_idle.close()  # it has `left` then
        return None

    def _are_full(self, customer: str, peer: str, *, beyond: int = 0) -> Refusal | None:
        one_may_have_all = self._one_may_have_all or self._proxies.trusts(peer)
        if not one_may_have_all and self._here[customer] >= self._each + beyond:
            return Refusal(_OF_ONE, TOO_MANY, "Too many connections from this address.", FULL_RETRY_SECONDS)
        if self._all >= self._most + beyond:
            return Refusal(_OF_ALL, TOO_MANY, "This gateway holds all that it may.", FULL_RETRY_SECONDS)
        return None
