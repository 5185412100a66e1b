"""Who held rooms when it was last looked: a guess to publish by while it is looked anew.

Who has come since is not in it: whoever publishes by a guess looks right after, and publishes once more to
those who were missing. So a guess that is wrong costs time, never an event. Of who has gone since it knows:
gateways tell which rooms they hold no longer (Redis pub/sub), and what is remembered of these is forgotten.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final, NoReturn

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from shared.cancellation import heed_the_end
from shared.events import Event
from shared.interest.store import DROPPED, REDIS_ERRORS, dropped_rooms
from shared.runtime import backoff

log = structlog.get_logger()

Rooms = tuple[str, ...]
_Kind = tuple[Rooms, bool]

_NOWHERE: Final[_Kind] = ((), False)
_MOST_ROOMS: Final = 100_000
"""More are forgotten, all at once: it takes one look each to know them again."""
_POLL_SECONDS: Final = 2.0
"""For how long a subscription is listened to at once; a client of Redis takes longer silence for a loss."""


class InterestMemory:
    """Remembers who holds rooms while `run()` hears who leaves them; without, it remembers nothing."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._hears = False
        self._found: dict[_Kind, tuple[Rooms, frozenset[str]]] = {}
        self._kinds: dict[str, set[_Kind]] = {}

    def guess(self, event: Event) -> frozenset[str] | None:
        """Who held the rooms of the last event that went where this one goes; None when that is not known."""
        kind = _kind(event)
        if kind == _NOWHERE:
            return frozenset()
        found = self._found.get(kind)
        return None if found is None else found[1]

    def learn(self, event: Event, rooms: Rooms, holders: frozenset[str]) -> None:
        """It was looked who holds `rooms`, to which the event goes."""
        if not self._hears:
            return
        kind = _kind(event)
        known = self._found.get(kind)
        if known is None or known[0] != rooms:
            self._forget(kind)
            if len(self._kinds) + len(rooms) > _MOST_ROOMS:
                self._forget_all()
            for room in rooms:
                self._kinds.setdefault(room, set()).add(kind)
        self._found[kind] = rooms, holders

    async def run(self) -> NoReturn:
        """Listens to who leaves rooms, until cancelled."""
        pauses = backoff()
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    await subscription.subscribe(DROPPED)
                    async for rooms in _heard(subscription):
                        if rooms is None:
                            self._hears, pauses = True, backoff()
                        else:
                            self._left(rooms)
            except REDIS_ERRORS as error:
                log.info("interest.not_heard", reason=repr(error))
            finally:
                self._hears = False
                self._forget_all()
            heed_the_end()
            await asyncio.sleep(next(pauses))

    def _left(self, rooms: list[str]) -> None:
        for room in rooms:
            for kind in list(self._kinds.get(room, ())):
                self._forget(kind)

    def _forget(self, kind: _Kind) -> None:
        rooms, _ = self._found.pop(kind, ((), None))
        for room in rooms:
            kinds = self._kinds[room]
            kinds.discard(kind)
            if not kinds:
                del self._kinds[room]

    def _forget_all(self) -> None:
        self._found.clear()
        self._kinds.clear()


def _kind(event: Event) -> _Kind:
    """Events of one kind go to the same rooms, unless members came or went."""
    return event.rooms, bool(event.users)


async def _heard(subscription: PubSub) -> AsyncIterator[list[str] | None]:
    """The rooms that are left; None once it is subscribed."""
    while True:
        message = await subscription.get_message(timeout=_POLL_SECONDS)
        heed_the_end()
        if message is None:
            continue
        if message["type"] == "subscribe":
            yield None
        elif message["type"] == "message":
            yield dropped_rooms(message["data"])
