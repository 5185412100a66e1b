"""Gap detection: tells whether anything may still appear before the next events of the outbox.

Positions come from a sequence, when an event is written; the event is seen when its transaction commits, and
so may be seen after one with a later position. A missing position belongs to a transaction that still runs,
or to one that was undone. PostgreSQL's snapshots tell which: once every transaction that ran when the gap was
seen has ended, all that can appear in it has appeared.
"""

from collections.abc import Sequence
from math import inf


class SequenceGaps:
    """The position that a relay has reached, and whether gaps below it may still be filled."""

    def __init__(self, reached: int) -> None:
        """`reached`: the sequence's last value before the first look."""
        self._reached = reached
        self._filled_at: float | None = inf

    def observe(self, positions: Sequence[int], *, oldest_running: int, next_transaction: int) -> None:
        """Notes what a look saw: all positions not relayed yet, in order, and its snapshot's bounds."""
        if self._filled_at is not None and oldest_running >= self._filled_at:
            self._filled_at = None
        ahead = [position for position in positions if position > self._reached]
        if self._filled_at == inf or (ahead and not self._continues(ahead)):
            self._filled_at = next_transaction
        self.advance(ahead)

    def is_next(self, positions: Sequence[int]) -> bool:
        """Returns whether nothing can appear before or between these, which are committed and in order."""
        return self._filled_at is None and self._continues(positions)

    def advance(self, positions: Sequence[int]) -> None:
        """Moves on to the last of these, which are relayed, in order."""
        if positions:
            self._reached = positions[-1]

    def _continues(self, positions: Sequence[int]) -> bool:
        first, last = self._reached + 1, self._reached + len(positions)
        return bool(positions) and (positions[0], positions[-1]) == (first, last)
