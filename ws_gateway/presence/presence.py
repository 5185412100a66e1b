"""Keeps which users are online in this gateway's chats, in the store that all gateways share."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

import orjson
import structlog
from redis.exceptions import RedisError

from shared.concurrency.backoff import backoff
from shared.concurrency.waiting import wait_for_event
from shared.events import PRESENCE, Event, chat_room
from shared.store.presence import NOBODY, Presence, Sighting
from ws_gateway.rooms.subscriptions import Subscription

log = structlog.get_logger()

ANSWER_SECONDS: Final = 1.0
REFRESH_SECONDS: Final = 3600.0
BATCH: Final = 500

_Member = tuple[str, str]
"""Chat id, user id."""
_Answers = list[asyncio.Future[Sighting]]


class RoomPresence:
    """Counts users' joined sockets; announces a user whose first one anywhere joins or whose last one leaves.

    What changes while the store is being asked goes there together next. While the store is away, nobody
    waits for it, and what was to be written is written once it is back.

    Attributes:
        settled: what has changed is written.
    """

    def __init__(self, *, instance: str, store: Presence, announce: Callable[[Event], None]) -> None:
        self._instance = instance
        self._store = store
        self._announce = announce
        self._sockets: Counter[_Member] = Counter()
        self._users: dict[str, set[str]] = {}
        self._announced: set[_Member] = set()
        self._changed: dict[_Member, _Answers] = {}
        self._any_changed = asyncio.Event()
        self._store_away = False
        self.settled = asyncio.Event()
        self.settled.set()

    async def enter(self, subscription: Subscription) -> list[str]:
        """Counts a subscription; returns the users online in its chat, this one included, sorted."""
        chat_id, user_id = subscription.chat_id, subscription.socket.user_id
        if not subscription.present:
            subscription.present = True
            self._sockets[chat_id, user_id] += 1
            self._users.setdefault(chat_id, set()).add(user_id)
        answers = self._change((chat_id, user_id))
        elsewhere = NOBODY if self._store_away else await _next_answer(answers)
        return sorted({*elsewhere, *self._users.get(chat_id, ()), user_id})

    def left(self, chat_id: str, user_id: str) -> None:
        """Counts one of the user's subscriptions no longer."""
        self._sockets[chat_id, user_id] -= 1
        if self._sockets[chat_id, user_id] <= 0:
            del self._sockets[chat_id, user_id]
            self._users[chat_id].discard(user_id)
            if not self._users[chat_id]:
                del self._users[chat_id]
            self._change((chat_id, user_id))

    def refresh(self) -> None:
        """Writes everything again: the store may have lost it."""
        for member in self._sockets:
            self._change(member)

    def chats(self) -> set[str]:
        """Returns the chats in which somebody here has a joined socket."""
        return set(self._users)

    def gone(self, chat_id: str, user_id: str) -> None:
        """Announces a user of a gateway that is gone offline, unless one of its sockets is here."""
        if (chat_id, user_id) not in self._sockets:
            self._announce(_presence_event(chat_id, user_id, online=False))

    def announce_anew(self) -> None:
        """Announces everybody here again: others may have said that they are gone."""
        self._announced.difference_update(self._sockets)
        self.refresh()

    async def run(self) -> None:
        """Writes what changes, for ever."""
        pauses = backoff()
        while True:
            await self._wait_for_changes()
            batch = [(member, self._changed.pop(member)) for member in list(self._changed)[:BATCH]]
            if self._changed:
                self._any_changed.set()
            try:
                await self._write(batch)
            except (RedisError, OSError, TimeoutError) as error:
                self._postpone(batch, error)
                await asyncio.sleep(next(pauses))
            else:
                if self._store_away:
                    self._store_away = False
                    pauses = backoff()
                    self.refresh()
                if not self._changed:
                    self.settled.set()

    async def withdraw(self) -> None:
        """Takes back all that this gateway wrote: it is about to end."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._store.write(self._instance, [(*member, False) for member in self._announced])
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("presence.away", error=type(error).__name__)

    def _change(self, member: _Member) -> _Answers:
        self._any_changed.set()
        self.settled.clear()
        return self._changed.setdefault(member, [])

    async def _wait_for_changes(self) -> None:
        if not await wait_for_event(self._any_changed, seconds=REFRESH_SECONDS):
            self.refresh()
        self._any_changed.clear()

    async def _write(self, batch: Iterable[tuple[_Member, _Answers]]) -> None:
        changes = [(*member, member in self._sockets) for member, _ in batch]
        async with asyncio.timeout(ANSWER_SECONDS):
            sightings = await self._store.write(self._instance, changes)
        for (member, answers), change, others in zip(batch, changes, sightings, strict=True):
            self._announce_change(member, others, here=change[-1])
            _resolve(answers, others)

    def _announce_change(self, member: _Member, others: Sighting, *, here: bool) -> None:
        if here == (member in self._announced):
            return
        (self._announced.add if here else self._announced.discard)(member)
        chat_id, user_id = member
        if user_id not in others:
            self._announce(_presence_event(chat_id, user_id, online=here))

    def _postpone(self, batch: Iterable[tuple[_Member, _Answers]], error: Exception) -> None:
        if not self._store_away:
            log.warning("presence.away", error=type(error).__name__)
        self._store_away = True
        for member, answers in batch:
            self._change(member)
            _resolve(answers, NOBODY)


async def _next_answer(answers: _Answers) -> Sighting:
    """Waits for the answer to come, but no longer than `ANSWER_SECONDS`: then it is nobody."""
    answer: asyncio.Future[Sighting] = asyncio.get_running_loop().create_future()
    answers.append(answer)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await answer
    except TimeoutError:
        log.warning("presence.slow")
        return NOBODY


def _resolve(answers: _Answers, others: Sighting) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_result(others)


def _presence_event(chat_id: str, user_id: str, *, online: bool) -> Event:
    return Event(
        type=PRESENCE,
        name="presence",
        body=orjson.dumps({"chatId": chat_id, "userId": user_id, "online": online}),
        source="/roomcast/gateway",
        subject=chat_id,
        rooms=(chat_room(chat_id),),
    )
