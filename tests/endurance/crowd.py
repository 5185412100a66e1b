"""Clients by the thousand that behave as socket.io-client does: they come back by themselves."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson
from support.raw_socket import RawSocket, TurnedAwayError

FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 5.0
"""As socket.io-client: doubling, with half of it up or down."""
JOIN_PAUSE_SECONDS: Final = 1.0


@dataclass(slots=True)
class Member:
    """A client that wants to be in a chat, at one of `urls`: after each failure at the next.

    Attributes:
        joined_at: when it was last let into the chat, by the loop's clock; None while it is not in.
        told_to_leave: the delays of `server-draining`, in milliseconds.
        troubles: what went wrong on the way, by kind.
    """

    urls: Callable[[], Sequence[str]]
    token: str
    chat_id: str
    source: str
    troubles: Counter[str]
    place: int = 0
    joined_at: float | None = None
    told_to_leave: list[int] = field(default_factory=list)
    _leaving: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Stays in, for ever."""
        failures = 0
        while True:
            urls = self.urls()
            raw = await self._come(urls[self.place % len(urls)])
            if raw is None:
                pause = min(FIRST_PAUSE_SECONDS * 2**failures, LONGEST_PAUSE_SECONDS)
                failures += 1
                self.place += 1
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))
                continue
            failures = 0
            self._leaving.clear()
            try:
                await self._stay(raw)
            finally:
                raw.abort()
                self.joined_at = None
            self.place += 1

    async def _come(self, url: str) -> RawSocket | None:
        try:
            raw = await RawSocket.opened(url, heard=self._hear, source=self.source)
        except (TurnedAwayError, OSError) as error:
            self._trouble(error)
            return None
        try:
            await raw.connect(self.token)
            while not (ack := await raw.ask("join-chat", self.chat_id))["ok"]:
                self.troubles[f"join-chat {ack['error']['code']}"] += 1
                await asyncio.sleep(JOIN_PAUSE_SECONDS)
        except (TurnedAwayError, TimeoutError) as error:
            self._trouble(error)
            raw.abort()
            return None
        except BaseException:
            raw.abort()
            raise
        self.joined_at = time.monotonic()
        return raw

    async def _stay(self, raw: RawSocket) -> None:
        """Until the connection ends, or until the time that the gateway has named."""
        gone = asyncio.create_task(raw.gone.wait())
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait({gone, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if self.told_to_leave and not gone.done():
                await asyncio.wait({gone}, timeout=self.told_to_leave[-1] / 1000)
        finally:
            gone.cancel()
            leaving.cancel()

    def _hear(self, packet: bytes) -> None:
        if packet.startswith(b'42["server-draining",'):
            self.told_to_leave.append(orjson.loads(packet[2:])[1]["reconnectInMs"])
            self._leaving.set()

    def _trouble(self, error: Exception) -> None:
        if isinstance(error, TurnedAwayError):
            self.troubles[f"{error.status or ''} {error.code}".strip()] += 1
        else:
            self.troubles[type(error).__name__] += 1


async def all_in(members: Sequence[Member], *, since: float, seconds: float) -> list[float]:
    """Waits until all are in for good; returns how long after `since` each was, sorted.

    Raises:
        TimeoutError: not within `seconds`; the text says how many were.
    """

    def is_in(one: Member) -> bool:
        return one.joined_at is not None and one.joined_at > since

    try:
        async with asyncio.timeout(seconds):
            while not all(map(is_in, members)):  # noqa: ASYNC110  # so many events would cost what is measured
                await asyncio.sleep(0.05)
    except TimeoutError:
        count = sum(map(is_in, members))
        raise TimeoutError(
            f"{count} of {len(members)} were in within {seconds} s: {members[0].troubles}"
        ) from None
    return sorted((one.joined_at or since) - since for one in members)
