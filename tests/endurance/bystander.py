"""A client that does no harm, beside those that do."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

import orjson
from support.gateways import message_created
from support.raw_socket import RawSocket

from endurance.gateway_process import publish
from shared.bus import Bus, BusUnavailableError
from shared.events import Event

BROADCAST_SECONDS: Final = 0.02
ANSWER_SECONDS: Final = 10.0


@dataclass(slots=True)
class Bystander:
    """A client that does no harm, and notices whatever is done to it.

    Attributes:
        heard: the numbers of the broadcasts that came.
        sent: how many were sent.
        slowest: seconds from publishing to hearing, the longest.
    """

    socket: RawSocket | None = None
    heard: list[int] = field(default_factory=list)
    sent: int = 0
    delays: list[float] = field(default_factory=list)
    _sent_at: dict[int, float] = field(default_factory=dict)

    def hear(self, packet: bytes) -> None:
        """Takes what comes."""
        if packet.startswith(b'42["new-msg",'):
            seq = orjson.loads(packet[2:])[1]["seq"]
            self.heard.append(seq)
            self.delays.append(time.monotonic() - self._sent_at.pop(seq, 0.0))

    async def broadcast(self, bus: Bus, chat_id: str) -> None:
        """Has something said in the room all the time."""
        while True:
            await self.say(bus, chat_id)
            await asyncio.sleep(BROADCAST_SECONDS)

    async def say(self, bus: Bus, chat_id: str) -> None:
        """Has something said."""
        self.sent += 1
        event = message_created(chat_id, self.sent)
        self._sent_at[self.sent] = time.monotonic()
        await told(bus, event)

    async def all_heard(self) -> None:
        """Returns when the last one has come."""
        async with asyncio.timeout(ANSWER_SECONDS):
            while len(self.heard) < self.sent:  # noqa: ASYNC110  # it is told by a callback that has more to do
                await asyncio.sleep(0.01)


async def told(bus: Bus, *events: Event) -> None:
    """Publishes events together, in the end."""
    while True:
        try:
            await publish(bus, *events)
        except BusUnavailableError:  # the broker is late on a busy machine; a repeat is passed on once
            continue
        return
