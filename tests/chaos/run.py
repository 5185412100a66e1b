"""One run: people, chats, load, faults, and at the end the judgement and the figures."""

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

import aiohttp
from support.rest import Api, Person

from chaos.cluster import Cluster
from chaos.figures import Figures
from chaos.history import History
from chaos.listeners import Listener
from chaos.outages import Window, outages
from chaos.posters import Author, Posters
from chaos.witness import Kind, Witness

ROOMS: Final = 4
"""Chats without an assistant, each with two members who post and listen."""
SOCKETS_EACH: Final = 2
ASSISTED: Final = 3
"""Chats of one member whose assistant answers every message."""
POSTS_PER_SECOND: Final = 240.0
QUESTIONS_PER_SECOND: Final = 0.4
SLOW_PER_SECOND: Final = 0.08
"""Of questions whose answers take ten seconds, one at a time."""
SETTLE_SECONDS: Final = 40.0
_LOOK_SECONDS: Final = 0.1
_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class People:
    """The users who take part; registered once, as hashing a password is slow."""

    pairs: Sequence[tuple[Person, Person]]
    loners: Sequence[Person]

    @classmethod
    async def registered(cls, api: Api) -> Self:
        """New users."""
        pairs = [(await api.register("ann"), await api.register("bob")) for _ in range(ROOMS)]
        return cls(pairs, [await api.register("cat") for _ in range(ASSISTED)])


@dataclass(slots=True)
class Run:
    """A run under way: what is posted and heard goes into `history`.

    Attributes:
        notes: what is to be said beside the figures.
        figures: what it came to, once it is finished.
    """

    cluster: Cluster
    history: History
    posters: Posters
    listeners: list[Listener]
    witnesses: list[Witness]
    readers: dict[str, Person]
    rng: random.Random
    windows: list[Window] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    posting: asyncio.Task[None] | None = None
    notes: list[str] = field(default_factory=list)
    figures: Figures | None = None

    @asynccontextmanager
    async def fault(self, kind: str, inflict: Any) -> AsyncIterator[Window]:
        """Has a fault while the block runs."""
        window = Window(kind, time.monotonic())
        self.windows.append(window)
        async with inflict(self.cluster, self.rng):
            window.effective = time.monotonic()
            yield window
        window.healed = time.monotonic()

    def posted_since(self, moment: float) -> int:
        """Counts the posts that were answered with a message after `moment`."""
        return sum(post.answered_at > moment for post in self.history.posts.values())

    async def until_posted(self, moment: float, count: int, *, seconds: float) -> float:
        """Waits until `count` posts that began after `moment` were stored; how long after it that was."""
        async with asyncio.timeout(seconds):
            while True:
                done = sorted(
                    post.answered_at
                    for post in self.history.posts.values()
                    if post.began > moment and post.answered is not None
                )
                if len(done) >= count:
                    return done[count - 1] - moment
                await asyncio.sleep(_LOOK_SECONDS)

    async def until_heard(self, moment: float, *, seconds: float) -> float:
        """Waits until each socket has heard something that was posted after `moment`; how long after it."""
        async with asyncio.timeout(seconds):
            while True:
                heard = [self._first_heard(witness, moment) for witness in self._busy()]
                if all(heard):
                    return max(heard) - moment
                await asyncio.sleep(_LOOK_SECONDS)

    def _busy(self) -> list[Witness]:
        quiet = {post.chat_id for post in self.history.posts.values() if post.asks}
        return [witness for witness in self.witnesses if witness.chat_id not in quiet]

    def _first_heard(self, witness: Witness, moment: float) -> float:
        fresh = (
            post.answered[1]
            for post in reversed(self.history.posts.values())
            if post.chat_id == witness.chat_id and post.answered is not None and post.began > moment
        )
        times = [witness.heard[seq].at for seq in fresh if seq in witness.heard]
        return min(times, default=0.0)

    def backlog(self) -> int:
        """Returns how many messages the busiest sockets have yet to hear, at least."""
        last: dict[str, int] = defaultdict(int)
        for post in self.history.posts.values():
            if post.answered is not None:
                last[post.chat_id] = max(last[post.chat_id], post.answered[1])
        return max((last[one.chat_id] - one.seen for one in self.witnesses), default=0)

    async def finish(self) -> Figures:
        """Ends the load, lets everything arrive, judges."""
        self.stop.set()
        ended = time.monotonic()
        if self.posting is not None:
            await self.posting
        await self.cluster.ready()
        stored = await self._settled()
        self.history.judge(stored)
        self.figures = self._figures(stored, ended - self.began)
        return self.figures

    async def _settled(self) -> list[dict[str, Any]]:
        """All messages, once every request is answered and every socket has them, or it has been too long."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            stored = await self._stored()
            last = {chat_id: len(messages) for chat_id, messages in stored.items()}
            caught_up = all(one.connected and one.seen >= last[one.chat_id] for one in self.witnesses)
            asked = sum(post.asks for post in self.history.posts.values())
            ends = sum(m["role"] != "USER" for messages in stored.values() for m in messages)
            if (caught_up and ends >= asked) or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.5)
        for witness in self.witnesses:
            if not witness.connected:
                self.history.report(Kind.HANG, f"{witness.name} has no connection at the end")
        return [message for messages in stored.values() for message in messages]

    async def _stored(self) -> dict[str, list[dict[str, Any]]]:
        """Reads what REST has of every chat."""
        stored = {}
        async with Api(self.posters.apis[0]) as api:
            for chat_id, person in self.readers.items():
                messages: list[dict[str, Any]] = []
                more = True
                while more:
                    after = messages[-1]["seq"] if messages else 0
                    path = f"/api/chat/{chat_id}/messages?afterSeq={after}&limit={_PAGE}"
                    page = await person.through(api).get(path)
                    messages += page["items"]
                    more = page["hasMore"]
                stored[chat_id] = messages
        return stored

    def _figures(self, stored: Sequence[dict[str, Any]], seconds: float) -> Figures:
        posts = sorted(
            (post for post in self.history.posts.values() if post.answered), key=lambda post: post.began
        )
        return Figures(
            seconds=seconds,
            posts=len(posts),
            replies=sum(message["role"] == "AI" for message in stored),
            deliveries=sum(witness.frames for witness in self.witnesses),
            connections=sum(listener.connections for listener in self.listeners),
            resyncs=sum(listener.resyncs for listener in self.listeners),
            repeats=sum(witness.repeats for witness in self.witnesses),
            answers=self.posters.answers,
            slowest_answer=self.posters.slowest,
            slowest_reply=max(self._reply_times(stored), default=0.0),
            faults=Counter(window.kind for window in self.windows),
            violations=list(self.history.violations),
            outages=outages(self.windows, posts, self.witnesses),
            notes=self.notes,
        )

    def _reply_times(self, stored: Sequence[dict[str, Any]]) -> Iterator[float]:
        """From the answer to a question until a socket heard its end."""
        asked = {post.answered[0]: post for post in self.history.posts.values() if post.answered}
        for message in stored:
            post = asked.get(message["replyTo"] or "")
            if post is None:
                continue
            for witness in self.witnesses:
                if witness.chat_id == message["chatId"] and message["seq"] in witness.heard:
                    yield witness.heard[message["seq"]].at - post.answered_at


@asynccontextmanager
async def running(
    cluster: Cluster,
    people: People,
    *,
    seed: int,
    per_second: float = POSTS_PER_SECOND,
    orderly: bool = False,
) -> AsyncIterator[Run]:
    """Load on the cluster while the block runs; the block ends with `finish()`.

    `orderly`: nothing will die, so every post has to be answered 201 the first time; clients reach the APIs
    by their balancer. Some of the questions take ten seconds to answer.
    """
    rng = random.Random(seed)
    history = History()
    cluster.died = lambda what: history.report(Kind.DEATH, what)
    apis = [unit.service.url for unit in cluster.those("api")]
    gateways = [unit.service.url for unit in cluster.those("gateway")]
    authors: list[Author] = []
    listeners: list[Listener] = []
    readers: dict[str, Person] = {}

    def listen(person: Person, chat_id: str) -> None:
        for _ in range(SOCKETS_EACH):
            number = len(listeners)
            witness = history.witness(f"{person.user['username']}/{number}", chat_id)
            order = gateways[number % 2 :] + gateways[: number % 2]
            listeners.append(
                Listener(
                    witness,
                    person.token,
                    order,
                    history=history,
                    rng=rng,
                    first_time=orderly,
                    excused=cluster.was_frozen,
                )
            )

    def author(person: Person, chat_id: str, rate: float, *, asks: bool = False, slow: bool = False) -> None:
        name = person.user["username"]
        authors.append(Author(name, person.token, chat_id, asks=asks, slow=slow, per_second=rate))
        listen(person, chat_id)

    async with Api(apis[0]) as api:
        for pair in people.pairs:
            ann, bob = (person.through(api) for person in pair)
            chat_id = await ann.open_chat(bob)
            readers[chat_id] = ann
            for person in (ann, bob):
                author(person, chat_id, per_second / ROOMS / 2)
        for number, person in enumerate(people.loners):
            chat_id = await person.through(api).open_chat(assistant="always")
            readers[chat_id] = person
            slow = orderly and not number
            author(person, chat_id, SLOW_PER_SECOND if slow else QUESTIONS_PER_SECOND, asks=True, slow=slow)
    posters = Posters(
        authors,
        [f"http://127.0.0.1:{cluster.balancer.port}"] if orderly else apis,
        history,
        rng,
        first_time=orderly,
        excused=cluster.was_frozen,
    )
    run = Run(cluster, history, posters, listeners, history.witnesses, readers, rng)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http, asyncio.TaskGroup() as tasks:
        hearing = [tasks.create_task(listener.run(http)) for listener in listeners]
        run.posting = tasks.create_task(posters.run(run.stop))
        try:
            yield run
        finally:
            run.stop.set()
            for task in hearing:
                task.cancel()
