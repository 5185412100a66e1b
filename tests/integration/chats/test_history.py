"""Reading what was said, on a real PostgreSQL and Redis."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest
from redis.asyncio import Redis
from support.database import Database
from support.posting import post_of
from support.servers import RedisServer

from chat_api.chats.group_commit import Poster
from chat_api.chats.history import MISSED_BYTES, History
from chat_api.chats.members import Members
from chat_api.chats.messages import Messages
from chat_api.chats.reply_in_progress import Progress
from shared.store.drafts import Drafts
from shared.store.presence import Presence

LONG = "😀" * 32_000


@pytest.fixture
async def history(database: Database, redis_server: RedisServer) -> AsyncIterator[History]:
    async with Redis.from_url(redis_server.url) as redis:
        yield History(database.engine, Progress(Drafts(redis)), Presence(redis))


async def test_what_was_missed_is_bounded_in_bytes_and_never_skips(
    database: Database, history: History, poster: Poster
) -> None:
    """A call answers about a MiB at most, one message at least, and `hasMore` leads through all of them."""
    user = await database.user()
    chat = await database.chat(user)
    for _ in range(30):
        await poster.post(post_of(chat, user, content=LONG))
    seen: list[int] = []
    calls = 0
    while True:
        answer = await history.sync(user, chat, seen[-1] if seen else 0)
        assert len(answer) < MISSED_BYTES + len(LONG.encode()) + 10_000
        state = orjson.loads(answer)
        seen += [message["seq"] for message in state["missed"]]
        calls += 1
        if not state["hasMore"]:
            break
    assert seen == list(range(1, 31))
    assert calls == 4


async def test_pages_go_both_ways_without_skipping(
    database: Database, history: History, poster: Poster
) -> None:
    user = await database.user()
    chat = await database.chat(user)
    await asyncio.gather(*(poster.post(post_of(chat, user)) for _ in range(7)))
    page = orjson.loads(await history.after(user, chat, 2, 3))
    assert ([each["seq"] for each in page["items"]], page["hasMore"]) == ([3, 4, 5], True)
    page = orjson.loads(await history.after(user, chat, 4, 3))
    assert ([each["seq"] for each in page["items"]], page["hasMore"]) == ([5, 6, 7], False)
    page = orjson.loads(await history.before(user, chat, 6, 3))
    assert ([each["seq"] for each in page["items"]], page["hasMore"]) == ([3, 4, 5], True)
    page = orjson.loads(await history.before(user, chat, 4, 3))
    assert ([each["seq"] for each in page["items"]], page["hasMore"]) == ([1, 2, 3], False)
    page = orjson.loads(await history.after(user, chat, 7, 3))
    assert (page["items"], page["hasMore"]) == ([], False)
    state = orjson.loads(await history.sync(user, chat, None))
    assert (state["lastSeq"], state["missed"], state["hasMore"]) == (7, [], False)


async def test_ones_own_messages_are_read_after_leaving_and_coming_back(
    database: Database, poster: Poster
) -> None:
    owner, guest = await database.user(), await database.user()
    chat = await database.chat(owner, guest)
    for user in (guest, owner, guest):
        await poster.post(post_of(chat, user))
    members = Members(database.engine)
    await members.remove(owner, chat, guest)
    await members.add(owner, chat, guest)
    unread = await database.connection.fetchval(
        "SELECT (chat_json(c, m)->>'unread')::int FROM chats c JOIN members m ON m.chat_id = c.id "
        "WHERE c.id = $1 AND m.user_id = $2",
        chat,
        guest,
    )
    assert unread == 1


async def test_a_deleted_question_is_not_answered_when_its_turn_comes(
    database: Database, poster: Poster
) -> None:
    user = await database.user()
    chat = await database.chat(user, assistant="always")
    posted = [orjson.loads((await poster.post(post_of(chat, user))).body) for _ in range(3)]
    await Messages(database.engine, poster).delete(user, chat, posted[1]["id"])
    statuses = await database.connection.fetch(
        "SELECT status FROM replies WHERE chat_id = $1 ORDER BY reply_to_seq", chat
    )
    assert [row["status"] for row in statuses] == ["requested", "cancelled", "queued"]
