"""Bounds TCP connections that are no WebSockets; idle ones make room for others."""

from collections.abc import Sequence
from ipaddress import ip_network

import pytest

from shared.http.proxies import Proxies
from ws_gateway.limits import Limits
from ws_gateway.listener.connection_limits import OPERATORS, ConnectionLimit


class Held:
    """A connection that has a place."""

    def __init__(self, limit: ConnectionLimit, peer: str) -> None:
        assert limit.take(peer) is None
        self.peer = peer
        self.closed = False
        self._limit = limit

    def close(self) -> None:
        self.closed = True
        self._limit.mark_busy(self)
        self._limit.release(self.peer)


def limit_of(*, all_: int, each: int, proxies: Sequence[str] = (), limited: bool = True) -> ConnectionLimit:
    limits = Limits(http_connections=all_, http_connections_per_address=each, limited=limited)
    return ConnectionLimit(limits, Proxies([ip_network(each) for each in proxies]))


@pytest.mark.parametrize(
    ("all_", "each", "status"),
    [(9, 2, 429), (2, 9, 503), (2, 2, 429)],
)
def test_a_refusal_says_which_bound_is_reached(all_: int, each: int, status: int) -> None:
    """Under one code, and when to come again: 429 for the address's own, 503 for all."""
    limit = limit_of(all_=all_, each=each)
    for _ in range(2):
        Held(limit, "192.0.2.1")
    refusal = limit.take("192.0.2.1")
    assert refusal is not None
    assert (refusal.status, refusal.code, refusal.retry_after) == (status, "too_many_connections", 5)


def test_of_one_address_only_its_own_idle_connection_makes_room() -> None:
    """The longest idle one; another's is kept."""
    limit = limit_of(all_=9, each=2)
    other, first, second = (Held(limit, f"192.0.2.{host}") for host in (2, 1, 1))
    for connection in (other, second, first):
        limit.mark_idle(connection)
    assert limit.take("192.0.2.1") is None
    assert (other.closed, first.closed, second.closed) == (False, False, True)


def test_where_all_places_are_taken_the_longest_idle_connection_makes_room() -> None:
    """No matter of which address; one that is busy again does not."""
    limit = limit_of(all_=3, each=9)
    busy, other, own = (Held(limit, f"192.0.2.{host}") for host in (2, 2, 1))
    for connection in (busy, other, own):
        limit.mark_idle(connection)
    limit.mark_busy(busy)
    assert limit.take("192.0.2.1") is None
    assert (busy.closed, other.closed, own.closed) == (False, True, False)


def test_operators_have_places_of_their_own() -> None:
    """No idle connection is closed for them."""
    limit = limit_of(all_=1, each=1)
    held = Held(limit, "192.0.2.1")
    limit.mark_idle(held)
    assert [limit.take_as_operator("192.0.2.1") for _ in range(OPERATORS + 1)] == [True] * OPERATORS + [False]
    assert not held.closed


def test_a_trusted_proxy_has_all_places() -> None:
    """It speaks for many; so has each address where nothing is limited."""
    for limit in (
        limit_of(all_=3, each=1, proxies=["192.0.2.0/24"]),
        limit_of(all_=3, each=1, limited=False),
    ):
        for _ in range(3):
            Held(limit, "192.0.2.1")
        refusal = limit.take("192.0.2.1")
        assert refusal is not None
        assert refusal.status == 503


def test_a_place_that_is_given_back_is_free() -> None:
    """At once."""
    limit = limit_of(all_=1, each=1)
    for _ in range(3):
        Held(limit, "192.0.2.1").close()
    assert limit.take("192.0.2.1") is None
    assert limit.take("192.0.2.1") is not None
