"""A lone token bucket and the limit of one key decide alike."""

import random

import pytest

from shared.http.rate_limit import RateLimit, TokenBucket


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("rate", "burst"), [(100, 250), (1, 1), (0.5, 3), (1000, 2500)])
def test_a_bucket_lets_through_what_the_limit_of_one_key_does(rate: float, burst: int) -> None:
    """The moments may be any, from a clock's zero on."""
    clock, chance = Clock(), random.Random(burst)
    bucket = TokenBucket(rate=rate, burst=burst, clock=clock)
    limit = RateLimit(rate=rate, burst=burst, clock=clock)
    passed = 0
    for _ in range(20 * burst + 1000):
        taken = bucket.take()
        assert taken == (limit.take("key") == 0.0)
        passed += taken
        clock.now += chance.choice((0.0, 0.0, 0.3 / rate, 1.7 / rate))
    assert burst <= passed <= burst + 1 + clock.now * rate
