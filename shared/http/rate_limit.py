"""Limits rates within one process by token buckets, each kept as one number (GCRA)."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

_CLOCK_NOISE: Final = 1e-6
"""Seconds; less than this is how floats add up."""


class TokenBucket:
    """A token bucket for one key: `burst` at once, and `rate` a second in the long run."""

    __slots__ = ("_clock", "_full_at", "_interval", "_tolerance")

    def __init__(self, *, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1 / rate
        self._tolerance = burst / rate
        self._clock = clock
        self._full_at = -math.inf

    def take(self) -> bool:
        """Takes a token; returns whether there was one."""
        wait, full_at = _after_one(self._full_at, self._clock(), self._interval, self._tolerance)
        if wait:
            return False
        self._full_at = full_at
        return True


class RateLimit:
    """A token bucket for each key: `burst` at once, and `rate` a second in the long run.

    It remembers at most `keys` keys, the last ones used: under a flood of keys the oldest starts afresh.
    """

    def __init__(
        self,
        *,
        rate: float,
        burst: int,
        keys: int = 10_000,
        on: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = 1 / rate
        self._tolerance = burst / rate
        self._keys = keys
        self._on = on
        self._clock = clock
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()
        """When each key's bucket will be full again, had it no more use."""

    def wait(self, key: Hashable) -> float:
        """Returns the seconds until the next `take` succeeds; 0.0 when it would now."""
        return self._look(key)[0] if self._on else 0.0

    def take(self, key: Hashable) -> float:
        """Takes a token of `key`: 0.0 when there was one, else (nothing taken) the seconds to wait."""
        if not self._on:
            return 0.0
        wait, full_at = self._look(key)
        if wait:
            return wait
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._keys:
            self._full_at.popitem(last=False)
        return 0.0

    def _look(self, key: Hashable) -> tuple[float, float]:
        full_at = self._full_at.get(key, -math.inf)
        return _after_one(full_at, self._clock(), self._interval, self._tolerance)


def _after_one(full_at: float, now: float, interval: float, tolerance: float) -> tuple[float, float]:
    """Returns the seconds to wait for a token, and when the bucket will be full again once it is taken.

    Args:
        full_at: when the bucket is full again if nothing more is taken, which is all that is kept of it.
        now: by the same clock.
        interval: seconds in which a token comes.
        tolerance: seconds in which an empty bucket fills.
    """
    full_at = (max(now, full_at)) + interval
    wait = full_at - now - tolerance
    return (wait if wait > _CLOCK_NOISE else 0.0), full_at
