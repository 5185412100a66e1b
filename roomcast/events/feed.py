"""Reads new events of the store as they come, none left out."""

from time import monotonic
from typing import Final

from chat_api.outbox.event_store import EventStore, Filter, StoredEvent

_PAGE: Final = 1000
_LOOK_BACK: Final = 1000
"""Positions below the highest that may be of transactions which have yet to commit."""
_LATE_SECONDS: Final = 60.0
"""How long a position that is missing is looked for: a transaction takes it before it commits, if it does."""


class Feed:
    """A reader of new events; those whose positions were overtaken come when they turn up."""

    def __init__(self, which: Filter) -> None:
        self._which = which
        self._highest = 0
        self._missing: dict[int, float] = {}

    async def start(self, store: EventStore, last: int) -> list[StoredEvent]:
        """Returns the latest events, at most `last`; `more` returns those after them."""
        self._highest = await store.last()
        floor = max(0, self._highest - _LOOK_BACK)
        there = set(await store.positions(floor, (), 2 * _LOOK_BACK))
        self._miss(range(floor + 1, self._highest), there)
        return await store.before(self._which, self._highest + 1, last) if last else []

    async def more(self, store: EventStore) -> list[StoredEvent]:
        """Returns those that have come since, in the order of positions; empty when there are none."""
        fresh = await store.positions(self._highest, list(self._missing), _PAGE)
        if not fresh:
            self._give_up()
            return []
        before, self._highest = self._highest, max(self._highest, fresh[-1])
        for position in fresh:
            self._missing.pop(position, None)
        self._miss(range(max(before, self._highest - _LOOK_BACK) + 1, self._highest), set(fresh))
        return await store.at(self._which, fresh)

    def _miss(self, positions: range, there: set[int]) -> None:
        until = monotonic() + _LATE_SECONDS
        self._missing.update((position, until) for position in positions if position not in there)

    def _give_up(self) -> None:
        now = monotonic()
        self._missing = {position: until for position, until in self._missing.items() if until > now}
