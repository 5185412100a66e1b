"""Outcomes of replies, on a real PostgreSQL and Redis."""

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest
from integration.replies.conversation import Conversation
from redis.asyncio import Redis
from support.database import Database
from support.servers import RedisServer

from chat_api.replies.outcomes import WORKER_LOST, Replies, request_unfinished
from shared.bus import Job, PoisonedEventError
from shared.events import (
    REPLY_FINISHED,
    REPLY_REQUESTED,
    SESSION_ENDED,
    Event,
    SessionEnded,
    UndecodableEventError,
)
from shared.ids import new_id
from shared.store.drafts import Drafts


@pytest.fixture
async def drafts(redis_server: RedisServer) -> AsyncIterator[Drafts]:
    async with Redis.from_url(redis_server.url) as redis:
        yield Drafts(redis)


@pytest.fixture
async def replies(database: Database, drafts: Drafts) -> Replies:
    return Replies(database.engine, drafts)


async def test_a_finished_reply_is_the_next_message_then_its_status_then_the_next_request(
    database: Database, replies: Replies
) -> None:
    talk = await Conversation(database).begin(2)
    (first, _), (second, _) = await talk.statuses()
    await replies.handle(talk.finished(first))
    assert (await talk.said())[-1] == (first, "AI", "an answer")
    assert await talk.statuses() == [(first, "finished"), (second, "requested")]
    told = await database.connection.fetch(
        "SELECT type, name, body, request_id FROM events WHERE subject = ANY ($1) ORDER BY position",
        [talk.chat, first, second],
    )
    assert [row["type"] for row in told][-3:] == ["message.created", "reply.status", "reply.requested"]
    message, status = (orjson.loads(row["body"]) for row in told[-3:-1])
    assert (message["id"], message["role"], message["metadata"]) == (first, "AI", {"model": "x"})
    assert (status["replyId"], status["status"], told[-2]["name"]) == (first, "completed", "ai-status")
    assert message["replyTo"] == status["replyTo"]
    assert told[-3]["request_id"] == "r9"


async def test_a_reply_that_arrives_twice_is_one_message(database: Database, replies: Replies) -> None:
    """The same event again, another event for the same reply, and both at once."""
    talk = await Conversation(database).begin(1)
    ((reply, _),) = await talk.statuses()
    job = talk.finished(reply)
    await asyncio.gather(*(replies.handle(each) for each in (job, job, talk.finished(reply, "another"))))
    await replies.handle(talk.failed(reply))
    assert [role for _, role, _ in await talk.said()] == ["USER", "AI"]
    assert await talk.statuses() == [(reply, "finished")]


@pytest.mark.parametrize("dead", [False, True], ids=["failed", "given up"])
async def test_a_failed_reply_is_said_in_the_chat_and_the_next_goes_on(
    database: Database, replies: Replies, dead: bool
) -> None:
    talk = await Conversation(database).begin(2)
    (first, _), (second, _) = await talk.statuses()
    if dead:
        (request,) = await database.events(first)
        body = request["body"].encode()
        job = Job(Event(type=REPLY_REQUESTED, body=body, id=request["id"]), dead=True)
    else:
        job = talk.failed(first)
    await replies.handle(job)
    _, role, content = (await talk.said())[-1]
    assert role == "SYSTEM"
    assert "could not" in content
    assert await talk.statuses() == [(first, "failed"), (second, "requested")]
    status = orjson.loads((await database.events(first))[-1]["body"])
    assert status["status"] == "failed"
    assert status["data"] == {"code": WORKER_LOST if dead else "demo_failure"}


async def test_a_reply_for_a_chat_that_is_gone_changes_nothing(database: Database, replies: Replies) -> None:
    talk = await Conversation(database).begin(1)
    ((reply, _),) = await talk.statuses()
    await database.connection.execute("DELETE FROM chats WHERE id = $1", talk.chat)
    await replies.handle(talk.finished(reply))
    assert [role for _, role, _ in await talk.said()] == ["USER"]


async def test_the_draft_goes_when_its_reply_is_stored(
    database: Database, replies: Replies, drafts: Drafts
) -> None:
    talk = await Conversation(database).begin(1)
    ((reply, _),) = await talk.statuses()
    await drafts.start(reply, 1)
    assert await drafts.read(reply) is not None
    await replies.handle(talk.finished(reply))
    assert await drafts.read(reply) is None
    assert (await drafts.start(reply, 2)).ended


async def test_what_is_not_for_this_queue_is_refused(replies: Replies) -> None:
    ended = SessionEnded(session_id=new_id(), user_id=new_id()).json_bytes()
    with pytest.raises(PoisonedEventError):
        await replies.handle(Job(Event(type=SESSION_ENDED, body=ended)))
    with pytest.raises(UndecodableEventError):
        await replies.handle(Job(Event(type=REPLY_FINISHED, body=b'{"replyId": 1}')))
    with pytest.raises(UndecodableEventError):
        await replies.handle(Job(Event(type="of.a.newer.version", body=b"{}")))


async def test_replies_that_a_dead_process_was_writing_are_asked_for_again(database: Database) -> None:
    talk = await Conversation(database).begin(2)
    (first, _), (second, _) = await talk.statuses()
    assert await request_unfinished(database.connection) >= 1
    assert len(await database.events(first)) == 2
    assert not await database.events(second)
