"""Cuts replies that were cancelled while a worker writes them.

The bus says so, at once. Should it have lost that, Redis does: with the next chunk (see
`shared.store.drafts`), or when it is asked, once a second.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

import structlog

from ai_worker.replies.chunks import Cut
from shared.concurrency.cancellation import is_cancelling
from shared.events import Event, ReplyCancelRequested, UndecodableEventError, command_of
from shared.store.draft_layout import Standing

log = structlog.get_logger()

LOOK_SECONDS: Final = 1.0
REMEMBERED: Final = 10_000
"""Cancelled replies that are known still when their requests arrive, or arrive again."""


class Standings(Protocol):
    """The store of how replies stand."""

    async def standing(self, reply_ids: Iterable[str]) -> Mapping[str, Standing]:
        """Returns how these replies stand; leaves out those of which it is not known."""
        ...


class Cancellations:
    """The cancelled replies, and the cuts of those being written; a `Listener` of the bus."""

    def __init__(self, standings: Standings) -> None:
        self._standings = standings
        self._cancelled: dict[str, None] = {}
        self._cuts: dict[str, list[Cut]] = {}
        self._any_written = asyncio.Event()

    @contextmanager
    def watched(self, reply_id: str) -> Iterator[Cut]:
        """Yields the cut of a reply while it is written: set when it is cancelled, or was before."""
        cut = Cut()
        cuts = self._cuts.setdefault(reply_id, [])
        cuts.append(cut)
        self._any_written.set()
        if reply_id in self._cancelled:
            cut.set()
        try:
            yield cut
        finally:
            cuts.remove(cut)
            if not cuts:
                self._cuts.pop(reply_id, None)

    async def run(self) -> None:
        """Asks the store, while replies are being written, for cancelled ones; until cancelled itself."""
        while not is_cancelling():
            await self._any_written.wait()
            await asyncio.sleep(LOOK_SECONDS)
            if not self._cuts:
                self._any_written.clear()
                continue
            for reply_id, standing in (await self._standings.standing(self._cuts)).items():
                if standing.cancelled or standing.ended:
                    self._cut(reply_id)

    def relay(self, events: Sequence[Event]) -> None:
        """Takes events off the bus."""
        for event in events:
            try:
                command = command_of(event)
            except UndecodableEventError as error:
                log.warning("cancellation.undecodable", id=event.id, error=str(error))
                continue
            if isinstance(command, ReplyCancelRequested):
                self._cancelled[command.reply_id] = None
                if len(self._cancelled) > REMEMBERED:
                    del self._cancelled[next(iter(self._cancelled))]
                self._cut(command.reply_id)

    def linked(self, *, gap: bool) -> None:
        """Logs that the bus is there; `run` finds what it may have lost."""
        log.info("cancellation.linked", gap=gap)

    def unlinked(self) -> None:
        """Logs that the bus is away."""
        log.warning("cancellation.unlinked")

    def _cut(self, reply_id: str) -> None:
        for cut in self._cuts.get(reply_id, ()):
            cut.set()
