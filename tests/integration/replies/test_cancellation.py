"""Cancelling replies and asking for them again, on a real PostgreSQL and Redis."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import orjson
import pytest
from integration.replies.conversation import Conversation
from redis.asyncio import Redis
from support.database import Database
from support.servers import RedisServer

from chat_api.chats.chats import Chats
from chat_api.chats.reply_in_progress import Progress
from chat_api.http.problems import Deleted, NotAReply, NotFound, ReplyFinished
from chat_api.replies.cancellation import LATE_SECONDS, Cancellation
from chat_api.replies.outcomes import Replies
from chat_api.replies.regeneration import Regeneration
from shared.bus import Job
from shared.events import REPLY_CANCEL_REQUESTED, REPLY_CHUNK, REPLY_REQUESTED, Event
from shared.ids import new_id
from shared.store.drafts import Drafts


class Desk:
    """A chat of always answered messages, and what ends its replies."""

    def __init__(self, database: Database, drafts: Drafts) -> None:
        self.database = database
        self.drafts = drafts
        self.cancellation = Cancellation(database.engine, drafts)
        self.regeneration = Regeneration(database.engine)
        self.replies = Replies(database.engine, drafts)
        self.talk = Conversation(database)
        self.owner = ""

    async def begin(self, posts: int) -> list[str]:
        """Posts messages; the ids of their replies, in turn."""
        await self.talk.begin(posts)
        query = "SELECT owner_id FROM chats WHERE id = $1"
        self.owner = str(await self.database.connection.fetchval(query, self.talk.chat))
        return [reply for reply, _ in await self.talk.statuses()]

    async def cancel(self, reply: str) -> None:
        await self.cancellation.cancel(self.owner, self.talk.chat, reply)

    async def regenerate(self, message: str) -> str:
        return await self.regeneration.regenerate(self.owner, self.talk.chat, message)

    async def status(self, reply: str) -> str:
        query = "SELECT status FROM replies WHERE id = $1"
        return str(await self.database.connection.fetchval(query, reply))

    async def message(self, reply: str) -> tuple[str, str, object]:
        """Role, content and metadata of the message that a reply became."""
        row = await self.database.connection.fetchrow(
            "SELECT role, content, metadata::text FROM messages WHERE id = $1", reply
        )
        assert row is not None
        return row["role"], row["content"], row["metadata"] and orjson.loads(row["metadata"])

    async def told(self, reply: str) -> list[tuple[str, object]]:
        """Lists the events about a reply: types, and what an `ai-status` said."""
        rows = await self.database.connection.fetch(
            "SELECT type, body FROM events WHERE subject = $1 OR id = $1 ORDER BY position", reply
        )
        return [(row["type"], orjson.loads(row["body"]).get("status")) for row in rows]


@pytest.fixture
async def desk(database: Database, redis_server: RedisServer) -> AsyncIterator[Desk]:
    async with Redis.from_url(redis_server.url) as redis:
        yield Desk(database, Drafts(redis))


async def test_a_reply_that_waits_for_its_turn_ends_at_once_and_the_turn_of_others_stays(desk: Desk) -> None:
    """Its message is empty; the one before it is written on, the one after it comes next."""
    first, second, third = await desk.begin(3)
    await desk.cancel(second)
    assert await desk.message(second) == ("AI", "", {"cancelled": True})
    assert await desk.told(second) == [("message.created", None), ("reply.status", "cancelled")]
    assert [await desk.status(reply) for reply in (first, third)] == ["requested", "queued"]
    await desk.replies.handle(desk.talk.finished(first))
    assert await desk.status(third) == "requested"


async def test_a_reply_that_is_being_written_ends_with_what_its_worker_sent(desk: Desk) -> None:
    """The worker is told once, however many cancel; its text is kept, what it knows of it too."""
    first, second = await desk.begin(2)
    await asyncio.gather(*(desk.cancel(first) for _ in range(4)))
    assert [type_ for type_, _ in await desk.told(first)] == [REPLY_REQUESTED, REPLY_CANCEL_REQUESTED]
    assert (await desk.drafts.start(first, 1)).cancelled
    await desk.replies.handle(desk.talk.finished(first, "what there"))
    assert await desk.message(first) == ("AI", "what there", {"model": "x", "cancelled": True})
    assert (await desk.told(first))[2:] == [("message.created", None), ("reply.status", "cancelled")]
    assert [await desk.status(reply) for reply in (first, second)] == ["cancelled", "requested"]
    await desk.cancel(first)
    assert len(await desk.told(first)) == 4


async def test_a_reply_that_fails_after_it_was_cancelled_is_cancelled(desk: Desk) -> None:
    """A 202 has one outcome."""
    (first,) = await desk.begin(1)
    await desk.cancel(first)
    await desk.replies.handle(desk.talk.failed(first))
    assert await desk.message(first) == ("AI", "", {"cancelled": True})


async def test_where_no_worker_answers_the_draft_is_what_is_kept(desk: Desk) -> None:
    """And the worker that comes too late changes nothing; nor is the reply begun once more."""
    first, second = await desk.begin(2)
    await desk.drafts.start(first, 1)
    await desk.drafts.mend(first, 1, ["what ", "there ", "was"])
    await desk.cancel(first)
    await desk.cancellation.end_overdue()
    assert await desk.status(first) == "requested"
    await asyncio.gather(*(desk.cancellation.end_overdue(answer_seconds=0) for _ in range(3)))
    assert await desk.message(first) == ("AI", "what there was", {"cancelled": True})
    await desk.replies.handle(desk.talk.finished(first, "what there was and more"))
    assert (await desk.message(first))[1] == "what there was"
    assert [type_ for type_, _ in await desk.told(first)].count("message.created") == 1
    assert (await desk.drafts.start(first, 2)).ended
    assert await desk.status(second) == "requested"


async def test_a_reply_that_no_worker_ends_is_ended_soon_after_its_cancel(desk: Desk) -> None:
    """Begun or not, by what its draft holds; its last chunk, which may not have been sent, goes before it."""
    first, second = await desk.begin(2)
    ending = asyncio.create_task(desk.cancellation.run())
    try:
        await desk.drafts.start(first, 1)
        await desk.drafts.mend(first, 1, ["what ", "there ", "was"])
        for reply in (first, second):
            started = monotonic()
            await desk.cancel(reply)
            while await desk.status(reply) != "cancelled":
                assert monotonic() - started < LATE_SECONDS * 0.8  # what else ends it looks after that
                await asyncio.sleep(0.005)
    finally:
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
    assert await desk.message(first) == ("AI", "what there was", {"cancelled": True})
    assert await desk.message(second) == ("AI", "", {"cancelled": True})
    told = [type_ for type_, _ in await desk.told(first)]
    assert told[2:] == [REPLY_CHUNK, "message.created", "reply.status"]
    assert REPLY_CHUNK not in [type_ for type_, _ in await desk.told(second)]
    query = "SELECT id, body::json FROM events WHERE subject = $1 AND type = $2"
    row = await desk.database.connection.fetchrow(query, first, REPLY_CHUNK)
    assert row is not None
    assert row["id"] == f"{first}:1:2"
    last = orjson.loads(row["body"])
    assert (last["index"], last["content"], last["isFinal"]) == (2, "was", False)


async def test_a_request_that_was_given_up_does_not_take_the_text_of_a_cancelled_reply(desk: Desk) -> None:
    """Its workers died: the draft is what there is."""
    (first,) = await desk.begin(1)
    await desk.drafts.start(first, 1)
    await desk.drafts.mend(first, 1, ["half"])
    await desk.cancel(first)
    (request, _) = await desk.database.events(first)
    dead = Job(Event(REPLY_REQUESTED, request["body"].encode(), id=request["id"]), dead=True)
    for _ in range(2):
        await desk.replies.handle(dead)
    await desk.cancellation.end_overdue(answer_seconds=0)
    assert await desk.message(first) == ("AI", "half", {"cancelled": True})


async def test_without_redis_a_cancelled_reply_waits_for_its_text_but_not_for_ever(
    desk: Desk, database: Database
) -> None:
    """After 15 s it ends without."""
    (first,) = await desk.begin(1)
    async with Redis(host="127.0.0.1", port=1) as away:
        cancellation = Cancellation(database.engine, Drafts(away))
        await cancellation.cancel(desk.owner, desk.talk.chat, first)
        await cancellation.end_overdue(answer_seconds=0)
        assert await desk.status(first) == "requested"
        await database.connection.execute(
            "UPDATE replies SET cancel_requested_at = now() - interval '16 seconds' WHERE id = $1", first
        )
        await cancellation.end_overdue()
    assert await desk.message(first) == ("AI", "", {"cancelled": True})


async def test_what_cannot_be_cancelled_is_refused(desk: Desk) -> None:
    first, second = await desk.begin(2)
    await desk.replies.handle(desk.talk.finished(first))
    await desk.replies.handle(desk.talk.failed(second))
    for ended in (first, second):
        with pytest.raises(ReplyFinished):
            await desk.cancel(ended)
    with pytest.raises(NotFound):
        await desk.cancel(new_id())
    stranger = await desk.database.user()
    with pytest.raises(NotFound):
        await desk.cancellation.cancel(stranger, desk.talk.chat, first)


async def test_another_version_takes_its_turn_and_names_the_earlier_one(desk: Desk) -> None:
    """It answers the same message, after what was asked before it; the earlier one stays."""
    first, second = await desk.begin(2)
    await desk.replies.handle(desk.talk.finished(first, "earlier"))
    again = await desk.regenerate(first)
    assert await desk.regenerate(first) == again
    assert [await desk.status(reply) for reply in (second, again)] == ["requested", "queued"]
    await desk.replies.handle(desk.talk.finished(second))
    assert await desk.status(again) == "requested"
    (request,) = await desk.database.events(again)
    body = orjson.loads(request["body"])
    assert (body["replyId"], body["regenerates"]) == (again, first)
    assert [said["id"] for said in body["history"]] == [body["replyTo"]]
    await desk.replies.handle(desk.talk.finished(again, "later"))
    assert await desk.message(first) == ("AI", "earlier", {"model": "x"})
    assert await desk.message(again) == ("AI", "later", {"model": "x", "regenerates": first})
    versions = "SELECT count(DISTINCT reply_to) FROM messages WHERE id = ANY ($1)"
    assert await desk.database.connection.fetchval(versions, [first, again]) == 1
    assert await desk.regenerate(first) not in {first, again}


async def test_versions_asked_for_at_once_are_one(desk: Desk) -> None:
    """Two members, or one whose answer was lost."""
    (first,) = await desk.begin(1)
    await desk.replies.handle(desk.talk.finished(first))
    assert len(set(await asyncio.gather(*(desk.regenerate(first) for _ in range(5))))) == 1


async def test_what_cannot_be_written_again_is_refused(desk: Desk) -> None:
    first, second = await desk.begin(2)
    await desk.replies.handle(desk.talk.finished(first))
    await desk.replies.handle(desk.talk.failed(second))
    for message, role, _ in await desk.talk.said():
        if role != "AI":
            with pytest.raises(NotAReply):
                await desk.regenerate(message)
    with pytest.raises(NotFound):
        await desk.regenerate(new_id())
    await desk.database.connection.execute(
        "UPDATE messages SET deleted_at = now() WHERE id = (SELECT reply_to FROM messages WHERE id = $1)",
        first,
    )
    with pytest.raises(Deleted):
        await desk.regenerate(first)


async def test_a_worker_is_told_when_the_chat_is_deleted(desk: Desk, database: Database) -> None:
    """Nobody will read what it writes."""
    first, second = await desk.begin(2)
    await Chats(database.engine, Progress(desk.drafts)).delete(desk.owner, desk.talk.chat)
    assert [type_ for type_, _ in await desk.told(first)] == [REPLY_REQUESTED, REPLY_CANCEL_REQUESTED]
    assert await desk.told(second) == []
    await desk.replies.handle(desk.talk.finished(first, "half"))
    assert (await desk.drafts.start(first, 2)).ended
