"""Who is seen in the chats of this gateway, kept in the store that all gateways share."""

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

_Who = tuple[str, str]
"""Chat id, user id."""
_Answers = list[asyncio.Future[Sighting]]


class RoomPresence:
    """Counts users' joined sockets, and announces whose first one came and whose last one left, anywhere.

    What changes while the store is being asked goes there together next. While the store is away, nobody
    waits for it, and what was to be written is written once it is back.

    Attributes:
        settled: what has changed is written.
    """

    def __init__(self, *, instance: str, store: Presence, announce: Callable[[Event], None]) -> None:
        self._instance = instance
        self._store = store
        self._announce = announce
        self._sockets: Counter[_Who] = Counter()
        self._users: dict[str, set[str]] = {}
        self._shown: set[_Who] = set()
        self._due: dict[_Who, _Answers] = {}
        self._news = asyncio.Event()
        self._away = False
        self.settled = asyncio.Event()
        self.settled.set()

    async def enter(self, subscription: Subscription) -> list[str]:
        """Counts a subscription; answers the users online in its chat, this one included, sorted."""
        chat_id, user_id = subscription.chat_id, subscription.socket.user_id
        if not subscription.present:
            subscription.present = True
            self._sockets[chat_id, user_id] += 1
            self._users.setdefault(chat_id, set()).add(user_id)
        answers = self._change((chat_id, user_id))
        elsewhere = NOBODY if self._away else await _answered(answers)
        return sorted({*elsewhere, *self._users.get(chat_id, ()), user_id})

    def left(self, chat_id: str, user_id: str) -> None:
        """One of the counted subscriptions has ended."""
        self._sockets[chat_id, user_id] -= 1
        if self._sockets[chat_id, user_id] <= 0:
            del self._sockets[chat_id, user_id]
            self._users[chat_id].discard(user_id)
            if not self._users[chat_id]:
                del self._users[chat_id]
            self._change((chat_id, user_id))

    def refresh(self) -> None:
        """Writes everything again: the store may have lost it."""
        for who in self._sockets:
            self._change(who)

    def chats(self) -> set[str]:
        """The chats in which somebody here has a joined socket."""
        return set(self._users)

    def gone(self, chat_id: str, user_id: str) -> None:
        """Announces somebody offline who was at a gateway that is gone."""
        if (chat_id, user_id) not in self._sockets:
            self._announce(_presence_event(chat_id, user_id, online=False))

    def announce_anew(self) -> None:
        """Announces everybody here again: others may have said that they are gone."""
        self._shown.difference_update(self._sockets)
        self.refresh()

    async def run(self) -> None:
        """Writes what changes, for ever."""
        pauses = backoff()
        while True:
            await self._wait_for_news()
            batch = [(who, self._due.pop(who)) for who in list(self._due)[:BATCH]]
            if self._due:
                self._news.set()
            try:
                await self._write(batch)
            except (RedisError, OSError, TimeoutError) as error:
                self._postpone(batch, error)
                await asyncio.sleep(next(pauses))
            else:
                if self._away:
                    self._away = False
                    pauses = backoff()
                    self.refresh()
                if not self._due:
                    self.settled.set()

    async def withdraw(self) -> None:
        """Takes back all that this gateway wrote; for its end."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._store.write(self._instance, [(*who, False) for who in self._shown])
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("presence.away", error=type(error).__name__)

    def _change(self, who: _Who) -> _Answers:
        self._news.set()
        self.settled.clear()
        return self._due.setdefault(who, [])

    async def _wait_for_news(self) -> None:
        if not await wait_for_event(self._news, seconds=REFRESH_SECONDS):
            self.refresh()
        self._news.clear()

    async def _write(self, batch: Iterable[tuple[_Who, _Answers]]) -> None:
        changes = [(*who, who in self._sockets) for who, _ in batch]
        async with asyncio.timeout(ANSWER_SECONDS):
            sightings = await self._store.write(self._instance, changes)
        for (who, answers), change, others in zip(batch, changes, sightings, strict=True):
            self._tell(who, others, here=change[-1])
            for answer in answers:
                _give(answer, others)

    def _tell(self, who: _Who, others: Sighting, *, here: bool) -> None:
        shown = who in self._shown
        if here == shown:
            return
        (self._shown.add if here else self._shown.discard)(who)
        chat_id, user_id = who
        if user_id not in others:
            self._announce(_presence_event(chat_id, user_id, online=here))

    def _postpone(self, batch: Iterable[tuple[_Who, _Answers]], error: Exception) -> None:
        if not self._away:
            log.warning("presence.away", error=type(error).__name__)
        self._away = True
        for who, answers in batch:
            self._change(who)
            for answer in answers:
                _give(answer, NOBODY)


async def _answered(answers: _Answers) -> Sighting:
    """Waits for one more answer, but no longer than that: then it is nobody."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Sighting] = loop.create_future()
    answers.append(answer)
    timer = loop.call_later(ANSWER_SECONDS, _give_up, answer)
    try:
        return await answer
    finally:
        timer.cancel()


def _give_up(answer: "asyncio.Future[Sighting]") -> None:
    log.warning("presence.slow")
    _give(answer, NOBODY)


def _give(answer: "asyncio.Future[Sighting]", seen: Sighting) -> None:
    if not answer.done():
        answer.set_result(seen)


def _presence_event(chat_id: str, user_id: str, *, online: bool) -> Event:
    return Event(
        type=PRESENCE,
        name="presence",
        body=orjson.dumps({"chatId": chat_id, "userId": user_id, "online": online}),
        source="/roomcast/gateway",
        subject=chat_id,
        rooms=(chat_room(chat_id),),
    )
