"""Group commit: while one statement is in flight, the posts that arrive wait and go in the next.

No post waits for a timer: with nothing in flight a post goes at once, alone. Each gets its own verdict from
the SQL function `store_posts`, and one post's refusal touches no other.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Final, NamedTuple, Protocol

import asyncpg
import structlog
from prometheus_client import Histogram

from chat_api.database.connections import DATABASE_ERRORS
from chat_api.outbox.announcements import message_created
from chat_api.outbox.record import NOTIFY, Recorded

log = structlog.get_logger()

MAX_GROUP: Final = 200
ANSWER_SECONDS: Final = 4.0
"""A post that has no verdict by then is answered 503; its key tells later whether it was stored."""
_TIMER_SECONDS: Final = 0.002
"""How early a timer of the event loop may be."""

GROUP_SIZE = Histogram(
    "roomcast_api_post_group_size",
    "Posts that went into one statement",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 200),
)

_SESSION: Final = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off"
"""`store_posts` is planned once: to plan it takes five times as long as to run it, and a plan for tables that
were empty when they were looked at last would read the whole of them."""
_STATEMENT: Final = (
    "SELECT verdict, body, time, seq, users, position FROM store_posts"
    "($1::uuid[], $2, $3, $4, $5::uuid[], $6, $7, $8, $9, $10::uuid[], $11::uuid[], $12, $13, $14) "
    "ORDER BY ord"
)


class Verdict(StrEnum):
    """The outcome of a post, in the words of `store_posts`."""

    CREATED = "created"
    REPLAYED = "replayed"
    AGAIN = "again"
    SESSION_ENDED = "session_ended"
    NOT_FOUND = "not_found"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    REPLY_NOT_FOUND = "reply_not_found"


class Post(NamedTuple):
    """One message to be posted, its fields in the order of the parameters of `store_posts`."""

    chat_id: str
    user_id: str
    session_id: str
    content: str
    reply_to: str | None
    metadata: str | None
    mention: bool
    key: str | None
    fingerprint: bytes | None
    message_id: str
    reply_id: str
    request_id: str
    traceparent: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict, and the message's JSON where it is CREATED or REPLAYED."""

    verdict: Verdict
    body: bytes


class PostingUnavailableError(Exception):
    """The database did not take the post in time; whether it is stored is not known."""


class Outbox(Protocol):
    """The relay, as posting needs it."""

    @property
    def leads(self) -> bool:
        """True while it publishes what is offered."""

    def offer(self, recorded: Sequence[Recorded]) -> bool:
        """Takes events that have just been committed, in order; returns whether it will publish them."""


class _Waiting(NamedTuple):
    """A post that has no verdict yet, and until when it is waited for (of `loop.time()`)."""

    post: Post
    answer: "asyncio.Future[Outcome]"
    until: float


_VERDICTS: Final = {verdict.value: verdict for verdict in Verdict}


class Poster:
    """Takes posts one by one, stores them in groups on a connection of its own. `run()` does the work.

    Their events go to `outbox` where that publishes them; else those who do are notified.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[asyncpg.Connection]], outbox: Outbox | None = None
    ) -> None:
        self._connect = connect
        self._outbox = outbox
        self._connection: asyncpg.Connection | None = None
        self._waiting: list[_Waiting] = []
        self._in_flight: Sequence[_Waiting] = ()
        self._arrived = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._expires_at = inf

    async def post(self, post: Post) -> Outcome:
        """Stores a post; returns its verdict, never AGAIN.

        Raises:
            PostingUnavailableError: no verdict within `ANSWER_SECONDS`.
        """
        until = asyncio.get_running_loop().time() + ANSWER_SECONDS
        while True:
            outcome = await self._enqueue(post, until)
            if outcome.verdict is not Verdict.AGAIN:
                return outcome

    async def run(self) -> None:
        """Stores what arrives until cancelled."""
        try:
            while True:
                await self._arrived.wait()
                group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
                if not self._waiting:
                    self._arrived.clear()
                self._in_flight = [waiting for waiting in group if not waiting.answer.done()]
                await self._settle(self._in_flight)
                self._in_flight = ()
        finally:
            await self._drop_connection()

    def _enqueue(self, post: Post, until: float) -> "asyncio.Future[Outcome]":
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Outcome] = loop.create_future()
        self._waiting.append(_Waiting(post, answer, until))
        self._arrived.set()
        if until < self._expires_at:
            self._wait_until(until)
        return answer

    def _wait_until(self, until: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._expires_at = until
        self._timer = asyncio.get_running_loop().call_at(until, self._expire) if until < inf else None

    def _expire(self) -> None:
        """Fails the posts that have no verdict in time; one timer for all, as hardly any ever needs it."""
        loop = asyncio.get_running_loop()
        pending = [each for each in (*self._in_flight, *self._waiting) if not each.answer.done()]
        for each in pending:
            if each.until <= loop.time() + _TIMER_SECONDS:
                each.answer.set_exception(PostingUnavailableError())
        self._wait_until(min((each.until for each in pending if not each.answer.done()), default=inf))

    async def _settle(self, group: Sequence[_Waiting]) -> None:
        if not group:
            return
        GROUP_SIZE.observe(len(group))
        try:
            outcomes = await self._store([waiting.post for waiting in group])
        except asyncpg.DataError as error:
            # The values of one post do not fit: it alone fails, so each goes by itself.
            if len(group) > 1:
                for waiting in group:
                    await self._settle([waiting])
                return
            _fail(group, error)
        except DATABASE_ERRORS as error:
            log.warning("posting.failed", posts=len(group), error=repr(error))
            await self._drop_connection()
            _fail(group, PostingUnavailableError())
        else:
            for waiting, outcome in zip(group, outcomes, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(outcome)

    async def _store(self, posts: Sequence[Post]) -> list[Outcome]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
            await self._connection.execute(_SESSION)
        columns = zip(*posts, strict=True)
        leads = self._outbox is not None and self._outbox.leads
        rows = await self._connection.fetch(_STATEMENT, *map(list, columns), not leads)
        outcomes = [Outcome(_VERDICTS[row["verdict"]], (row["body"] or "").encode()) for row in rows]
        if leads:
            await self._offer(self._connection, posts, rows, outcomes)
        return outcomes

    async def _offer(
        self,
        connection: asyncpg.Connection,
        posts: Sequence[Post],
        rows: Sequence[asyncpg.Record],
        outcomes: Sequence[Outcome],
    ) -> None:
        recorded = [
            _recorded(post, row, outcome.body)
            for post, row, outcome in zip(posts, rows, outcomes, strict=True)
            if row["position"] is not None
        ]
        assert self._outbox is not None  # it led a moment ago  # noqa: S101
        if recorded and not self._outbox.offer(recorded):
            with suppress(*DATABASE_ERRORS):  # it is stored; the next look finds it
                await connection.execute(NOTIFY)

    async def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


def _fail(group: Sequence[_Waiting], error: Exception) -> None:
    for waiting in group:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)


def _recorded(post: Post, row: asyncpg.Record, body: bytes) -> Recorded:
    event = message_created(
        post.chat_id,
        post.message_id,
        body,
        seq=row["seq"],
        users=row["users"],
        time=row["time"],
        request_id=post.request_id,
        traceparent=post.traceparent,
    )
    return Recorded(row["position"], row["time"], event)
