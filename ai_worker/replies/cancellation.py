"""How a worker learns that a reply it writes is to end where it is.

From the bus, at once. And should that have lost it, from Redis: with the next chunk (see
`shared.store.drafts`), or at the look a second that this takes.
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
    """Where it is kept how replies stand."""

    async def standing(self, reply_ids: Iterable[str]) -> Mapping[str, Standing]:
        """How these replies stand; those of which it is not known are left out."""
        ...


class Cancellations:
    """Cuts the replies that are cancelled; a `Listener` of the bus."""

    def __init__(self, standings: Standings) -> None:
        self._standings = standings
        self._cancelled: dict[str, None] = {}
        self._written: dict[str, list[Cut]] = {}
        self._some = asyncio.Event()

    @contextmanager
    def watched(self, reply_id: str) -> Iterator[Cut]:
        """For the time that the reply is being written: what is set when it is cancelled, or was before."""
        cut = Cut()
        cuts = self._written.setdefault(reply_id, [])
        cuts.append(cut)
        self._some.set()
        if reply_id in self._cancelled:
            cut.set()
        try:
            yield cut
        finally:
            cuts.remove(cut)
            if not cuts:
                self._written.pop(reply_id, None)

    async def run(self) -> None:
        """Looks, while replies are being written, whether one was cancelled; until cancelled itself."""
        while not is_cancelling():
            await self._some.wait()
            await asyncio.sleep(LOOK_SECONDS)
            if not self._written:
                self._some.clear()
                continue
            for reply_id, standing in (await self._standings.standing(self._written)).items():
                if standing.cancelled or standing.ended:
                    self._cut(reply_id)

    def relay(self, events: Sequence[Event]) -> None:
        """Takes what the bus has."""
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
        """The bus is there; the look a second finds what it may have lost."""
        log.info("cancellation.linked", gap=gap)

    def unlinked(self) -> None:
        """The bus is away."""
        log.warning("cancellation.unlinked")

    def _cut(self, reply_id: str) -> None:
        for cut in self._written.get(reply_id, ()):
            cut.set()
