"""The pauses between attempts."""

import random
from collections.abc import Iterator


def backoff(first: float = 0.1, most: float = 5.0) -> Iterator[float]:
    """Yields pauses in seconds between attempts, without end: doubling from `first` to `most`, with jitter.

    Each is between half and the whole of its step, so that many who lost the same server come back apart.
    """
    step = first
    while True:
        yield random.uniform(step / 2, step)  # noqa: S311  # spreads load, protects nothing
        step = min(step * 2, most)
