"""Old partitions are dropped while posts go on, on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import asyncpg
import orjson
import pytest
from fakeredis import FakeAsyncRedis
from support.database import Database
from support.servers import PostgresServer

from chat_api import migrations
from chat_api.chats.chats import Chats
from chat_api.chats.group_commit import Post, Poster
from chat_api.chats.history import History
from chat_api.chats.reply_in_progress import Progress
from chat_api.database import retention
from chat_api.database.connections import connect, open_engine
from chat_api.database.partitions import Maintenance
from chat_api.database.retention import Retention
from shared.ids import new_id
from shared.store.drafts import Drafts
from shared.store.presence import Presence

OLD = "2024-02-03T04:05:06Z"
_EVENT = (
    "INSERT INTO events (id, time, type, body, published_at) "
    "VALUES ($1, $2::text::timestamptz, 'chat.read', '{}', CASE WHEN $3 THEN now() END)"
)
_MESSAGE = (
    "INSERT INTO messages (id, chat_id, seq, role, user_id, content, time) "
    "VALUES (gen_random_uuid(), $1::text::uuid, $2, 'USER', $3, 'old', $4::text::timestamptz)"
)


@pytest.fixture
async def aged(postgres: PostgresServer) -> AsyncIterator[Database]:
    """A database with a quarter of long ago, empty as yet."""
    url = await postgres.new_database()
    await migrations.upgrade(url)
    connection = await connect(url)
    for table in ("messages", "events"):
        await connection.execute("SELECT make_partition($1, '2024-01-01')", table)
    async with open_engine(url) as engine:
        yield Database(url, engine, connection)
    await connection.close()


def upkeep(database: Database, *, messages: int | None = None, events: int | None = None) -> Maintenance:
    return Maintenance(lambda: connect(database.url), Retention(messages=messages, events=events))


async def tables(database: Database, like: str = "%2024q1") -> list[str]:
    found = await database.connection.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE $1 ORDER BY 1", like
    )
    return [row["relname"] for row in found]


async def test_nothing_is_dropped_unless_it_is_asked_for(aged: Database) -> None:
    """Without a setting, messages and events are kept for ever."""
    await upkeep(aged).once()
    assert await tables(aged) == ["events_2024q1", "messages_2024q1"]


async def test_each_kind_has_its_own_time(aged: Database) -> None:
    """Only whole partitions before the bound go; the present ones and those ahead stay."""
    await upkeep(aged, events=1, messages=36500).once()
    assert await tables(aged) == ["messages_2024q1"]
    await upkeep(aged, messages=1).once()
    assert await tables(aged) == []
    assert len(await tables(aged, "messages_2%")) == len(await tables(aged, "events_2%")) == 3


async def test_unpublished_events_are_never_dropped(aged: Database) -> None:
    """However old; once they are published, the partition goes."""
    await aged.connection.execute(_EVENT, new_id(), OLD, False)
    await upkeep(aged, events=1).once()
    assert await tables(aged) == ["events_2024q1", "messages_2024q1"]
    await aged.connection.execute("UPDATE events SET published_at = now()")
    await upkeep(aged, events=1).once()
    assert await tables(aged) == ["messages_2024q1"]


async def test_a_detaching_that_was_interrupted_is_finished(
    aged: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long transaction holds it up, nobody else; the next round ends it."""
    monkeypatch.setattr(retention, "DETACH_SECONDS", 0.5)
    await aged.connection.execute(_EVENT, new_id(), OLD, True)
    other: asyncpg.Connection = await connect(aged.url)
    reading = aged.connection.transaction()
    await reading.start()
    await aged.connection.fetch("SELECT * FROM events")
    with pytest.raises(TimeoutError):
        await upkeep(aged, events=1).once()
    pending = "SELECT count(*) FROM pg_inherits WHERE inhdetachpending"
    assert await other.fetchval(pending) == 1
    await other.execute(_EVENT, new_id(), "2026-11-21T00:00:00Z", True)
    await reading.rollback()
    await upkeep(aged).once()
    assert await tables(aged) == ["messages_2024q1"]
    assert await other.fetchval(pending) == 0
    await other.close()


async def test_what_an_operator_detached_is_left_alone(aged: Database) -> None:
    """Only what carries the mark is dropped."""
    await aged.connection.execute("ALTER TABLE events DETACH PARTITION events_2024q1")
    await upkeep(aged, events=1).once()
    assert await tables(aged) == ["events_2024q1", "messages_2024q1"]


async def test_dropping_an_old_partition_fails_no_post(aged: Database) -> None:
    """Under load, over and over: every post is taken, and every message is there afterwards."""
    user = await aged.user()
    chats = [await aged.chat(user) for _ in range(8)]
    async with posting(aged, user, chats) as posted:
        for year in range(2010, 2016):
            for table in ("messages", "events"):
                await aged.connection.execute(f"SELECT make_partition('{table}', '{year}-01-01')")
            await aged.connection.execute(_EVENT, new_id(), f"{year}-02-01T00:00:00Z", True)
            await aged.connection.execute(_MESSAGE, chats[0], -year, user, f"{year}-02-01T00:00:00Z")
            await asyncio.sleep(0.1)
            await upkeep(aged, events=1, messages=1).once()
            assert await tables(aged, "%201_q1") == []
    assert len(posted) > 100
    assert await aged.connection.fetchval("SELECT count(*) FROM messages") == len(posted)
    assert await aged.connection.fetchval("SELECT count(*) FROM events") == len(posted)


async def test_a_long_reader_holds_up_the_dropping_and_no_post(aged: Database) -> None:
    """A backup that reads for hours: nobody waits for it but the upkeep."""
    user = await aged.user()
    chats = [await aged.chat(user)]
    reading = aged.connection.transaction()
    await reading.start()
    await aged.connection.fetch("SELECT * FROM messages")
    async with posting(aged, user, chats) as posted:
        dropping = asyncio.create_task(upkeep(aged, messages=1).once())
        await asyncio.sleep(3)
        assert not dropping.done()
        await reading.rollback()
        await asyncio.wait_for(dropping, 5)
    assert await tables(aged) == ["events_2024q1"]
    assert max(posted) < 2


@asynccontextmanager
async def posting(database: Database, user: str, chats: list[str]) -> AsyncIterator[list[float]]:
    """Posts for as long as the block runs; gives how long each took, in seconds."""
    done, took = asyncio.Event(), list[float]()
    poster = Poster(lambda: connect(database.url))

    async def keep_posting(chat: str) -> None:
        while not done.is_set():
            began = monotonic()
            outcome = await poster.post(_post(chat, user))
            assert outcome.verdict == "created"
            took.append(monotonic() - began)

    running = asyncio.create_task(poster.run())
    async with asyncio.TaskGroup() as group:
        for chat in chats:
            group.create_task(keep_posting(chat))
            group.create_task(keep_posting(chat))
        yield took
        done.set()
    running.cancel()
    await asyncio.wait([running])


async def test_a_chat_whose_messages_were_dropped_goes_on(aged: Database) -> None:
    """`lastMessage` is null, pages and `missed` hold what is left, and say that there is no more."""
    alice, bob = await aged.user(), await aged.user()
    half, whole = await aged.chat(alice, bob), await aged.chat(alice, bob)
    for seq in range(1, 6):
        await aged.connection.execute(_MESSAGE, whole, seq, bob, OLD)
        await aged.connection.execute(_MESSAGE, half, seq, bob, OLD if seq < 4 else "2026-11-20T00:00:00Z")
    await aged.connection.execute("UPDATE chats SET last_seq = 5")
    await upkeep(aged, messages=1).once()
    history, chats = _readers(aged)
    synced = orjson.loads(await history.sync(alice, half, 1))
    assert ([message["seq"] for message in synced["missed"]], synced["hasMore"]) == ([4, 5], False)
    synced = orjson.loads(await history.sync(alice, whole, 0))
    assert (synced["missed"], synced["hasMore"], synced["lastSeq"]) == ([], False, 5)
    page = orjson.loads(await history.before(alice, half, 5, 50))
    assert ([message["seq"] for message in page["items"]], page["hasMore"]) == ([4], False)
    listed = orjson.loads(await chats.page(alice, 50, None))["items"]
    assert {chat["id"]: chat["lastMessage"] and chat["lastMessage"]["seq"] for chat in listed} == {
        half: 5,
        whole: None,
    }


def _readers(database: Database) -> tuple[History, Chats]:
    redis = FakeAsyncRedis()
    progress = Progress(Drafts(redis))
    return History(database.engine, progress, Presence(redis)), Chats(database.engine, progress)


def _post(chat: str, user: str) -> Post:
    return Post(
        chat_id=chat,
        user_id=user,
        session_id="none",
        content="hello",
        reply_to=None,
        metadata=None,
        mention=False,
        key=None,
        fingerprint=None,
        message_id=new_id(),
        reply_id=new_id(),
        request_id="",
        traceparent="",
    )
