"""Rate limits within one process: a token bucket for each key, in one number each (GCRA)."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

_CLOCK_NOISE: Final = 1e-6
"""Seconds; less than this is how floats add up."""


class RateLimit:
    """So many at once (`burst`), and so many a second in the long run (`rate`), for each key.

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
        """Seconds until the next `take` succeeds; 0.0 when it would now."""
        return self._look(key)[0] if self._on else 0.0

    def take(self, key: Hashable) -> float:
        """Takes one for `key`: 0.0 when there was one, else (nothing taken) the seconds to wait."""
        if not self._on:
            return 0.0
        wait, full_at = self._look(key)
        if wait > 0:
            return wait
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._keys:
            self._full_at.popitem(last=False)
        return 0.0

    def _look(self, key: Hashable) -> tuple[float, float]:
        """How long to wait for one, and when the bucket will be full again after that."""
        now = self._clock()
        full_at = max(self._full_at.get(key, now), now) + self._interval
        wait = full_at - now - self._tolerance
        return (wait if wait > _CLOCK_NOISE else 0.0), full_at
