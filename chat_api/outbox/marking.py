"""Marking: what the bus has confirmed is marked as published, what comes within a moment together.

A mark costs PostgreSQL as much as a third of a post. What a leader that dies has not marked is published
again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from math import inf
from time import monotonic
from typing import Final

from chat_api.outbox.record import Recorded
from chat_api.outbox.unpublished import BATCH

MOST_UNMARKED: Final = 4 * BATCH
"""With so many to be marked, nothing is published before they are."""
MARK_SECONDS: Final = 0.03
"""How long what is published may wait for others, to be marked together."""


class Marking:
    """Holds events that are published until they are marked so.

    Args:
        mark: marks events, at least one; called for one group at a time.
        wake: called when a mark is due, and when one is done.
    """

    def __init__(
        self, mark: Callable[[Sequence[Recorded]], Awaitable[None]], wake: Callable[[], None]
    ) -> None:
        self._mark = mark
        self._wake = wake
        self._unmarked: list[Recorded] = []
        self._unmarked_since = 0.0
        self._marking: asyncio.Task[None] | None = None

    @property
    def due_at(self) -> float:
        """The time, of `monotonic()`, from which a mark can be begun; infinity while none can."""
        can_begin = self._unmarked and self._marking is None
        return self._unmarked_since + MARK_SECONDS if can_begin else inf

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The marking that is under way, if any."""
        return [] if self._marking is None else [self._marking]

    def add(self, published: Sequence[Recorded]) -> None:
        """Takes events that are confirmed; they are marked before long."""
        if published and not self._unmarked:
            self._unmarked_since = monotonic()
            asyncio.get_running_loop().call_later(MARK_SECONDS, self._wake)
        self._unmarked += published

    def take_unmarked(self) -> Sequence[Recorded]:
        """Hands over all that is to be marked, to a caller who marks it."""
        unmarked, self._unmarked = self._unmarked, []
        return unmarked

    def reap(self) -> None:
        """Forgets the marking that is done; raises what it raised."""
        if self._marking is not None and self._marking.done():
            self._marking.result()
            self._marking = None

    async def wait(self) -> None:
        """Waits for the marking that is under way; raises what it raises."""
        if self._marking is not None:
            await asyncio.shield(self._marking)
            self._marking = None

    async def mark(self) -> None:
        """Marks all that is published."""
        await self.wait()
        if self._unmarked:
            await self._mark_all()

    async def mark_due(self) -> None:
        """Begins a marking that is due, which goes on beside the relay; waits for it where there are many."""
        if len(self._unmarked) >= MOST_UNMARKED:
            await self.mark()
        elif monotonic() >= self.due_at:
            self._marking = asyncio.create_task(self._mark_all())
            self._marking.add_done_callback(lambda _: self._wake())

    async def _mark_all(self) -> None:
        await self._mark(self.take_unmarked())
