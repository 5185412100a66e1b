"""A memory of the gateways that held rooms at the last look: a guess to publish by.

Who has come since is not in it: whoever publishes by a guess looks right after, and publishes once more to
those who were missing. So a guess that is wrong costs time, never an event. Of who has gone since it knows:
gateways tell which rooms they hold no longer (Redis pub/sub), and what is remembered of these is forgotten. A
gateway that held only the rooms of members may get one event too many.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, NoReturn

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from shared.concurrency.backoff import backoff
from shared.concurrency.cancellation import raise_if_cancelled
from shared.events import Event
from shared.store.keys import DROPPED, rooms_of
from shared.store.outages import REDIS_ERRORS

log = structlog.get_logger()

Kind = tuple[tuple[str, ...], bool]
_NOWHERE: Final[Kind] = ((), False)
_MOST_NAMES: Final = 100_000
"""Of rooms and members, some 14 MB; with more, all are forgotten: one look each, and they are known again."""
_POLL_SECONDS: Final = 2.0
"""For how long a subscription is listened to at once; a client of Redis takes longer silence for a loss."""


@dataclass(slots=True)
class _Found:
    """The gateways that held the rooms of events of a kind; `asked` and `users` are those of the last."""

    users: tuple[str, ...]
    asked: bytes
    holders: frozenset[str]


class InterestMemory:
    """Remembers who holds rooms while `run()` hears who leaves them; without, it remembers nothing."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._subscribed = False
        self._found: dict[Kind, _Found] = {}
        self._kinds: dict[str, set[Kind]] = {}
        self._names = 0

    def guess(self, event: Event) -> frozenset[str] | None:
        """Returns the holders of the rooms of the last event that went where this one goes, if known."""
        kind = kind_of(event)
        if kind == _NOWHERE:
            return frozenset()
        found = self._found.get(kind)
        return None if found is None else found.holders

    def asked(self, event: Event) -> bytes | None:
        """Returns the question that was asked about this very event's rooms; None where none is known."""
        found = self._found.get(kind_of(event))
        return found.asked if found is not None and found.users == event.users else None

    def learn(self, event: Event, asked: bytes, holders: frozenset[str]) -> None:
        """Remembers the answer about the gateways that hold the event's rooms."""
        if not self._subscribed:
            return
        kind = kind_of(event)
        known = self._found.get(kind)
        if known is not None and known.asked == asked:
            known.holders = holders
            return
        self._forget(kind)
        found = _Found(event.users, asked, holders)
        if self._names + _names(kind, found) > _MOST_NAMES:
            self._forget_all()
        for room in event.rooms:
            self._kinds.setdefault(room, set()).add(kind)
        self._found[kind] = found
        self._names += _names(kind, found)

    async def run(self) -> NoReturn:
        """Listens to who leaves rooms, until cancelled."""
        pauses = backoff()
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    await subscription.subscribe(DROPPED)
                    async for rooms in _dropped_rooms(subscription):
                        if rooms is None:
                            self._forget_all()  # the client may have subscribed anew by itself
                            self._subscribed, pauses = True, backoff()
                        else:
                            self._forget_rooms(rooms)
            except REDIS_ERRORS as error:
                log.info("interest.not_heard", reason=repr(error))
            finally:
                self._subscribed = False
                self._forget_all()
            raise_if_cancelled()
            await asyncio.sleep(next(pauses))

    def _forget_rooms(self, rooms: list[str]) -> None:
        for room in rooms:
            for kind in list(self._kinds.get(room, ())):
                self._forget(kind)

    def _forget(self, kind: Kind) -> None:
        found = self._found.pop(kind, None)
        if found is None:
            return
        self._names -= _names(kind, found)
        for room in set(kind[0]):
            kinds = self._kinds[room]
            kinds.discard(kind)
            if not kinds:
                del self._kinds[room]

    def _forget_all(self) -> None:
        self._found.clear()
        self._kinds.clear()
        self._names = 0


def kind_of(event: Event) -> Kind:
    """Returns the kind of an event: those of one kind go to the same rooms, unless members came or went."""
    return event.rooms, bool(event.users)


def _names(kind: Kind, found: _Found) -> int:
    return len(kind[0]) + len(found.users)


async def _dropped_rooms(subscription: PubSub) -> AsyncIterator[list[str] | None]:
    """Yields None once it is subscribed, then the rooms that a gateway dropped, time by time."""
    while True:
        message = await subscription.get_message(timeout=_POLL_SECONDS)
        raise_if_cancelled()
        if message is None:
            continue
        if message["type"] == "subscribe":
            yield None
        elif message["type"] == "message":
            yield rooms_of(message["data"])
