"""Events that were relayed lately: what comes twice is relayed once."""

from collections import deque
from collections.abc import Sequence
from typing import Final

from shared.events import Event

REMEMBERED: Final = 10_000
"""More than can be unacknowledged when a link is lost."""


class Recent:
    """The ids of the latest events."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._oldest: deque[str] = deque()

    def fresh(self, events: Sequence[Event]) -> list[Event]:
        """Those that have not been here; now they have."""
        return [event for event in events if self._is_fresh(event)]

    def _is_fresh(self, event: Event) -> bool:
        if event.id in self._ids:
            return False
        self._ids.add(event.id)
        self._oldest.append(event.id)
        if len(self._oldest) > REMEMBERED:
            self._ids.remove(self._oldest.popleft())
        return True
