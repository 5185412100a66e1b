"""Publishing of events to the gateways that hold their rooms."""

from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from typing import Any

from shared.bus import Bus, Routed
from shared.bus.queues import OWN_MESSAGE
from shared.events import Event
from shared.interest import InterestReader
from shared.interest.reader import Write

Gateways = frozenset[str] | None


class EventPublisher:
    """Looks up who holds each event's rooms right before it publishes, or right after if it can guess."""

    def __init__(self, *, bus: Bus, interest: InterestReader) -> None:
        self._bus = bus
        self._interest = interest

    def publish(self, events: Sequence[Event], *, first: Write | None = None) -> Coroutine[Any, Any, None]:
        """Hands `events` to the bus, in order; awaited, it is over when that has taken over every one.

        Where it can be guessed who holds their rooms they are on their way when this returns, and who else
        holds them is looked up after that. A gateway that was not in the guess has them when this is over.

        `first` is written to Redis in the same round trip as the look-up; what it raises is passed on, and
        nothing is published then.

        Raises:
            BusUnavailableError: not confirmed; publish all of them again.
        """
        # What others than gateways take goes out once, so not before it is known who gets it.
        may_guess = first is None and not any(event.type in OWN_MESSAGE for event in events)
        guessed = self._interest.guess(events) if may_guess else None
        if guessed is None:
            return self._look_and_publish(events, first)
        return self._look_again(events, guessed, self._bus.publish(_routed(events, guessed)))

    async def _look_and_publish(self, events: Sequence[Event], first: Write | None) -> None:
        if events:
            await self._bus.publish(_routed(events, await self._interest.gateways(events, first=first)))

    async def _look_again(
        self, events: Sequence[Event], guessed: Sequence[frozenset[str]], sending: Awaitable[None]
    ) -> None:
        known = await self._interest.gateways(events)
        missing = (who if who is None else who - had for who, had in zip(known, guessed, strict=True))
        missed = [each for each in _routed(events, missing) if each.gateways is None or each.gateways]
        if missed:
            await self._bus.publish(missed)
        await sending


def _routed(events: Iterable[Event], gateways: Iterable[Gateways]) -> list[Routed]:
    return [Routed(*pair) for pair in zip(events, gateways, strict=True)]
