"""Publishing an event to whoever holds its rooms."""

from collections.abc import Sequence

from shared.bus import Bus, Routed
from shared.events import Event
from shared.interest import InterestReader
from shared.interest.reader import Write


class EventPublisher:
    """Looks up who holds each event's rooms right before it publishes."""

    def __init__(self, *, bus: Bus, interest: InterestReader) -> None:
        self._bus = bus
        self._interest = interest

    async def publish(self, events: Sequence[Event], *, first: Write | None = None) -> None:
        """Hands `events` to the bus, in order; returns when it has taken responsibility for every one.

        `first` is written to Redis in the same round trip as the look-up; what it raises is passed on, and
        nothing is published then.

        Raises:
            BusUnavailableError: not confirmed; publish all of them again.
        """
        if not events:
            return
        gateways = await self._interest.gateways(events, first=first)
        await self._bus.publish([Routed(*pair) for pair in zip(events, gateways, strict=True)])
