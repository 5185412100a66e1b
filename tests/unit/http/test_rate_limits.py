"""Rate limits: what a bucket lets through."""

import pytest

from chat_api.http.problems import RateLimited
from chat_api.http.rate_limits import Limits, enforce
from shared.http.rate_limit import RateLimit


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_burst_then_the_rate(clock: Clock) -> None:
    """So many at once, then one each interval, and the whole burst again after a rest."""
    limit = RateLimit(rate=2, burst=5, clock=clock)
    assert [limit.take("a") for _ in range(5)] == [0.0] * 5
    assert limit.take("a") == pytest.approx(0.5)
    clock.now += 0.5
    assert limit.take("a") == 0.0
    assert limit.take("a") > 0
    clock.now += 100
    assert [limit.take("a") for _ in range(5)] == [0.0] * 5
    assert limit.take("a") > 0


def test_keys_do_not_touch_each_other(clock: Clock) -> None:
    """Each has its own bucket."""
    limit = RateLimit(rate=1, burst=1, clock=clock)
    assert (limit.take("a"), limit.take("b")) == (0.0, 0.0)
    assert limit.take("a") > 0


def test_asking_takes_nothing(clock: Clock) -> None:
    """`wait` says what `take` would; a refused `take` takes nothing either."""
    limit = RateLimit(rate=1, burst=2, clock=clock)
    assert [limit.wait("a") for _ in range(5)] == [0.0] * 5
    limit.take("a")
    limit.take("a")
    assert [limit.take("a") for _ in range(3)] == [pytest.approx(1.0)] * 3
    assert limit.wait("a") == pytest.approx(1.0)


def test_long_runs_keep_the_rate(clock: Clock) -> None:
    """Small errors of the clock's arithmetic do not add up."""
    limit = RateLimit(rate=3, burst=3, clock=clock)
    taken = 0
    for _ in range(10_000):
        taken += limit.take("a") == 0.0
        clock.now += 0.1
    assert taken == pytest.approx(3000, abs=5)


def test_memory_is_bounded(clock: Clock) -> None:
    """A flood of keys pushes the oldest out."""
    limit = RateLimit(rate=1, burst=1, keys=100, clock=clock)
    for number in range(1000):
        limit.take(number)
    assert len(limit._full_at) == 100
    assert limit.take(999) > 0


def test_off_is_off() -> None:
    """`RATE_LIMITS=off` lets everything through."""
    limits = Limits.of(on=False)
    for _ in range(5000):
        enforce(limits.posts, "ada")
    assert limits.posts.wait("ada") == 0.0


def test_a_limit_refuses_with_the_time_to_wait() -> None:
    """Whole seconds, at least one."""
    limits = Limits.of(on=True)
    for _ in range(10):
        enforce(limits.failed_logins, "ada")
    with pytest.raises(RateLimited) as refused:
        enforce(limits.failed_logins, "ada")
    assert 1 <= int(refused.value.headers["Retry-After"]) <= 6
