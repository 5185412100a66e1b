"""Gap detection: tells whether anything may still appear before the next events of the outbox.

Positions come from a sequence, when an event is written; the event is seen when its transaction commits, and
so may be seen after one with a later position. A missing position belongs to a transaction that still runs,
or to one that was undone. Transaction ids tell which: an id is older than the position that its transaction
takes, so once every transaction with an id below the next one at the time when the gap was seen has ended,
all that can appear in it has appeared.
"""

from collections.abc import Sequence
from math import inf
from typing import Final

_UNBOUND: Final = inf


class SequenceGaps:
    """The position that a relay has reached, and whether gaps below it may still be filled."""

    def __init__(self, reached: int) -> None:
        """`reached`: the sequence's last value before the first look."""
        self._reached = reached
        self._filled_at: float | None = _UNBOUND

    def observe(self, positions: Sequence[int], *, oldest_running: int) -> bool:
        """Notes what a look saw: all positions not relayed yet, in order.

        `oldest_running`: every transaction with a lower id had ended.

        Returns:
            True when there is a gap of which nothing was known. It stays open until `bound` has said by which
            transaction's end it is filled, if ever.
        """
        if self._filled_at is not None and oldest_running >= self._filled_at:
            self._filled_at = None
        ahead = [position for position in positions if position > self._reached]
        if ahead and not self._continues(ahead):
            self._filled_at = _UNBOUND
        self.advance(ahead)
        return self._filled_at == _UNBOUND

    def bound(self, next_transaction: int) -> None:
        """Takes the id that the next transaction had after the look that saw a gap."""
        self._filled_at = next_transaction

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
