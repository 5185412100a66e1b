"""Deduplication: events that come again, by their ids, are relayed once."""

from collections import deque
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from shared.events import Event

T = TypeVar("T")

EVENTS: Final = 10_000
"""More than a relay of the outbox publishes again when its link or it itself is lost."""
MESSAGES: Final = 1000
"""As many may be unacknowledged when a link is lost, however many events each of them holds."""


class Recent:
    """The latest events, and which of them came together in the latest messages."""

    def __init__(self) -> None:
        self._ids: _Latest[str] = _Latest(EVENTS)
        self._messages: _Latest[int] = _Latest(MESSAGES)

    def fresh(self, events: Sequence[Event]) -> list[Event]:
        """Returns those events of one message that are new, and remembers them."""
        if not self._messages.is_new(hash(tuple(event.id for event in events))):
            return []
        return [event for event in events if self._ids.is_new(event.id)]


class _Latest(Generic[T]):
    """The latest things seen, so many of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: set[T] = set()
        self._oldest: deque[T] = deque()

    def is_new(self, one: T) -> bool:
        """Returns whether it has not been seen, and remembers it."""
        if one in self._seen:
            return False
        self._seen.add(one)
        self._oldest.append(one)
        if len(self._oldest) > self._most:
            self._seen.remove(self._oldest.popleft())
        return True
