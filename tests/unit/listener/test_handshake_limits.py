"""Limits on how many connections may be opened."""

import orjson

from ws_gateway.limits import ConcurrencyLimit, Limits
from ws_gateway.listener.handshake_limits import Admission
from ws_gateway.metrics import LIMITED


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def codes(admission: Admission, address: str, times: int) -> list[str | None]:
    answers = [admission.refusal(address) for _ in range(times)]
    return [None if answer is None else answer.code for answer in answers]


def test_an_address_has_a_burst_and_a_rate_and_takes_nothing_from_others() -> None:
    """Four seconds' worth at once; one that is too much does not count for all together."""
    clock = Clock()
    limits = Limits(handshakes_per_second=10, handshakes_per_address=5)
    admission = Admission(limits, connections=lambda: 0, clock=clock)
    counted = LIMITED.labels("too_many_handshakes")._value.get()
    assert codes(admission, "a", 100) == [None] * 20 + ["too_many_handshakes"] * 80
    assert LIMITED.labels("too_many_handshakes")._value.get() == counted + 80
    assert codes(admission, "b", 21) == [None] * 20 + ["too_many_handshakes"]
    assert codes(admission, "c", 1) == ["gateway_busy"]
    clock.now += 1
    assert codes(admission, "a", 6) == [None] * 5 + ["too_many_handshakes"]


def test_a_gateway_that_is_busy_does_not_charge_those_it_turns_away() -> None:
    """A client that tries again meanwhile, as it is told, has all of its own left when there is room."""
    clock = Clock()
    limits = Limits(handshakes_per_second=10, handshakes_per_address=8)
    admission = Admission(limits, connections=lambda: 0, clock=clock)
    codes(admission, "a", 32)
    assert codes(admission, "b", 8) == [None] * 8
    assert codes(admission, "c", 100) == ["gateway_busy"] * 100
    clock.now += 1
    assert codes(admission, "c", 11) == [None] * 10 + ["gateway_busy"]


def test_each_refusal_says_when_to_come_again() -> None:
    """In whole seconds, at least one; 429 where the client has to slow down, 503 where others have."""
    limits = Limits(handshakes_per_second=1, handshakes_per_address=1, max_sockets=3)
    held = 0
    admission = Admission(limits, connections=lambda: held, clock=Clock())
    codes(admission, "a", 4)
    refusal = admission.refusal("a")
    assert refusal is not None
    response = refusal.response()
    assert (response.status, response.headers["Retry-After"]) == (429, "1")
    assert isinstance(response.body, bytes)
    assert orjson.loads(response.body)["code"] == "too_many_handshakes"
    held = 3
    refusal = admission.refusal("b")
    assert refusal is not None
    assert (refusal.status, refusal.code) == (503, "gateway_full")


def test_load_tests_meet_no_rates() -> None:
    """`RATE_LIMITS=off` leaves the number of connections, which memory bounds anyway."""
    limits = Limits(handshakes_per_second=1, handshakes_per_address=1, max_sockets=3, limited=False)
    assert codes(Admission(limits, connections=lambda: 0), "a", 1000) == [None] * 1000
    assert codes(Admission(limits, connections=lambda: 3), "a", 1) == ["gateway_full"]


def test_places_are_given_back() -> None:
    """So many for each at once."""
    places = ConcurrencyLimit(2)
    assert [places.acquire("ada") for _ in range(3)] == [True, True, False]
    assert places.acquire("ben")
    places.release("ada")
    assert [places.acquire("ada") for _ in range(2)] == [True, False]
    assert all(ConcurrencyLimit(None).acquire("ada") for _ in range(1000))
