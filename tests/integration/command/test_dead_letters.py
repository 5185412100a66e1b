"""`roomcast events dead`, on a real RabbitMQ."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiormq
import orjson
import pytest
from support.database import Database
from support.program import roomcast
from support.servers import RabbitServer
from support.servers.rabbitmq import rabbit_channel

from shared.bus import Job, PoisonedEventError, Routed, WorkQueue
from shared.bus.ack_policy import ATTEMPTS
from shared.bus.rabbit.bus import rabbit_bus
from shared.bus.rabbit.dead_letters import dead_letters
from shared.bus.rabbit.topology import DEAD, DEAD_LETTERS, TopologyMismatchError, declare
from shared.events import REPLY_FINISHED, REPLY_REQUESTED, Event
from shared.ids import new_id


@pytest.fixture
async def url(rabbitmq: RabbitServer) -> AsyncIterator[str]:
    """The broker, with empty queues."""
    async with rabbit_channel(rabbitmq.url) as channel:
        await declare(channel)
        for queue in (DEAD_LETTERS, *WorkQueue):
            await channel.queue_purge(queue)
    yield rabbitmq.url
    async with rabbit_channel(rabbitmq.url) as channel:
        for queue in (DEAD_LETTERS, *WorkQueue):
            await channel.queue_purge(queue)


async def bury(url: str, *events: Event, queue: WorkQueue = WorkQueue.API_REPLIES) -> None:
    """Has a consumer refuse these events, so that they are dead letters."""
    refused: list[str] = []

    async def refuse(job: Job) -> None:
        refused.append(job.event.id)
        raise PoisonedEventError(f"bad {len(refused)}")

    async with rabbit_bus(url, name="test") as bus:
        consuming = asyncio.create_task(bus.consume(queue, refuse, concurrency=1))
        for event in events:
            await bus.publish([Routed(event, frozenset())])
        async with asyncio.timeout(20):
            while await depth(url, DEAD_LETTERS) < len(events):  # noqa: ASYNC110  the broker tells nobody
                await asyncio.sleep(0.05)
        consuming.cancel()
        await asyncio.wait([consuming])


async def depth(url: str, queue: str) -> int:
    async with rabbit_channel(url) as channel:
        return (await channel.queue_declare(queue, passive=True)).message_count or 0


def finished() -> Event:
    return Event(REPLY_FINISHED, b'{"replyId":"r"}', subject=new_id(), request_id="r-1")


async def dead(
    url: str, tmp_path: Path, *arguments: str, **settings: str
) -> tuple[int, list[dict[str, Any]], str]:
    """Exit status, the lines, what is on stderr."""
    ended = await roomcast("events", "dead", *arguments, "--json", cwd=tmp_path, RABBITMQ_URL=url, **settings)
    return ended.status, [orjson.loads(line) for line in ended.output.splitlines()], ended.errors


async def test_letters_are_looked_at_and_stay_as_they_are(url: str, tmp_path: Path) -> None:
    """In order, with the reason and the whole event; again and again."""
    events = [finished() for _ in range(4)]
    await bury(url, *events)
    for _ in range(ATTEMPTS + 2):
        async with dead_letters(url) as letters:
            assert [taken.letter.event async for taken in letters] == events
    status, found, _ = await dead(url, tmp_path, "list", "--limit", "3")
    assert (status, [letter["id"] for letter in found]) == (0, [event.id for event in events[:3]])
    assert [letter["reason"] for letter in found] == [f"PoisonedEventError: bad {n}" for n in (1, 2, 3)]
    status, [shown], _ = await dead(url, tmp_path, "show", events[2].id)
    assert (shown["queue"], shown["event"]["requestId"], shown["event"]["body"]) == (
        "api.replies",
        "r-1",
        {"replyId": "r"},
    )
    assert shown["buried"] > shown["event"]["time"]
    assert await depth(url, DEAD_LETTERS) == 4
    plain = await roomcast("events", "dead", "list", cwd=tmp_path, RABBITMQ_URL=url)
    assert all(event.id in plain.output for event in events)


async def test_a_replayed_letter_is_done_by_its_consumer(url: str, tmp_path: Path) -> None:
    """Under its id, with nothing of the dead letter beside it; the others stay, in order."""
    events = [finished() for _ in range(4)]
    await bury(url, *events)
    assert (await dead(url, tmp_path, "replay", events[1].id))[0] == 0
    async with rabbit_channel(url) as channel:
        message = await channel.basic_get(WorkQueue.API_REPLIES, no_ack=True)
    headers = message.header.properties.headers or {}
    assert (headers["cloudEvents_id"], message.routing_key) == (events[1].id, REPLY_FINISHED)
    assert {"reason", "queue", "buried", "x-death"}.isdisjoint(headers)
    async with dead_letters(url) as letters:
        assert [taken.letter.id async for taken in letters] == [events[n].id for n in (0, 2, 3)]
    status, done, _ = await dead(url, tmp_path, "replay", "--all")
    assert (status, [line["id"] for line in done]) == (0, [events[n].id for n in (0, 2, 3)])
    assert (await depth(url, DEAD_LETTERS), await depth(url, WorkQueue.API_REPLIES)) == (0, 3)


async def test_what_no_queue_would_take_stays(url: str, tmp_path: Path) -> None:
    """Junk, and types that nobody works on, are kept and said so; they can be shown and dropped."""
    async with rabbit_channel(url) as channel:
        await channel.basic_publish(b"\xffjunk", exchange=DEAD, routing_key=REPLY_FINISHED)
        odd = Event("reply.reviewed", b"{}")
        properties = aiormq.spec.Basic.Properties(
            content_type="application/json",
            headers={f"cloudEvents_{name}": value for name, value in odd.attributes().items()},
        )
        await channel.basic_publish(b"{}", exchange=DEAD, routing_key="reply.reviewed", properties=properties)
    status, done, errors = await dead(url, tmp_path, "replay", "--all")
    assert (status, [line["done"] for line in done], "2 left" in errors) == (1, [False, False], True)
    _, [junk, unknown], _ = await dead(url, tmp_path, "list")
    assert (junk["event"], "junk" in junk["body"], unknown["id"]) == (None, True, odd.id)
    status, [shown], _ = await dead(url, tmp_path, "show", junk["id"])
    assert (status, shown) == (0, junk)
    status, dropped, _ = await dead(url, tmp_path, "drop", junk["id"])
    assert (status, dropped) == (0, [junk])
    assert await depth(url, DEAD_LETTERS) == 1


async def test_dropping_all_wants_a_yes(url: str, tmp_path: Path) -> None:
    """Without it nothing is dropped, and the number is said."""
    await bury(url, finished(), finished())
    status, lines, errors = await dead(url, tmp_path, "drop", "--all")
    assert (status, lines, "2 dead letters would be dropped" in errors) == (1, [], True)
    assert await depth(url, DEAD_LETTERS) == 2
    assert (await dead(url, tmp_path, "drop", "--all", "--yes"))[0] == 0
    assert await depth(url, DEAD_LETTERS) == 0
    status, _, errors = await dead(url, tmp_path, "drop", new_id())
    assert (status, "1 left" in errors) == (1, True)


async def test_what_the_broker_gave_up_has_its_reason_too(url: str, tmp_path: Path) -> None:
    """A job whose consumers died each time: the letter names its queue and type."""
    event = finished()
    async with rabbit_bus(url, name="test") as bus:
        await bus.publish([Routed(event, frozenset())])
    for _ in range(ATTEMPTS):
        async with rabbit_channel(url) as channel:
            async with asyncio.timeout(10):
                while (await channel.basic_get(WorkQueue.API_REPLIES)).delivery_tag is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
    async with asyncio.timeout(10):
        while not await depth(url, DEAD_LETTERS):  # noqa: ASYNC110  the broker tells nobody
            await asyncio.sleep(0.05)
    _, [letter], _ = await dead(url, tmp_path, "list")
    assert (letter["id"], letter["type"], letter["queue"]) == (event.id, REPLY_FINISHED, "api.replies")
    assert "delivery_limit" in letter["reason"]
    assert letter["buried"]
    assert (await dead(url, tmp_path, "replay", event.id))[0] == 0
    assert await depth(url, WorkQueue.API_REPLIES) == 1


async def test_a_reply_that_nobody_waits_for_is_not_written_again(
    url: str, tmp_path: Path, database: Database
) -> None:
    """Its request is kept, unless the reply is still awaited or the operator insists."""
    event = Event(REPLY_REQUESTED, b"{}", subject=new_id())
    await bury(url, event, queue=WorkQueue.ASSISTANT_REQUESTS)
    status, [line], _ = await dead(url, tmp_path, "replay", event.id)
    assert (status, "DATABASE_URL" in line["outcome"]) == (1, True)
    status, [line], _ = await dead(url, tmp_path, "replay", event.id, DATABASE_URL=database.url)
    assert (status, "nobody waits" in line["outcome"]) == (1, True)
    chat = await database.chat(await database.user())
    await database.connection.execute(
        "INSERT INTO replies (id, chat_id, reply_to, reply_to_seq, status) "
        "VALUES ($1::text::uuid, $2::text::uuid, gen_random_uuid(), 1, 'requested')",
        event.subject,
        chat,
    )
    assert (await dead(url, tmp_path, "replay", event.id, DATABASE_URL=database.url))[0] == 0
    assert await depth(url, WorkQueue.ASSISTANT_REQUESTS) == 1


async def test_a_queue_that_reading_would_harm_is_refused(url: str) -> None:
    """A quorum queue counts each look as a delivery, and loses the order."""
    async with rabbit_channel(url) as channel:
        await channel.queue_delete(DEAD_LETTERS)
        await channel.queue_declare(DEAD_LETTERS, durable=True, arguments={"x-queue-type": "quorum"})
    try:
        with pytest.raises(TopologyMismatchError, match=DEAD_LETTERS):
            async with dead_letters(url):
                raise AssertionError
    finally:
        async with rabbit_channel(url) as channel:
            await channel.queue_delete(DEAD_LETTERS)
            await declare(channel)
