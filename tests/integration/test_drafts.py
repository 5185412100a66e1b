"""The draft of a reply being written: what a late joiner gets of it."""

from collections.abc import AsyncIterator

import pytest
from fakeredis import FakeAsyncRedis
from redis.asyncio import Redis
from servers import RedisServer

from shared.drafts import Draft, Drafts


@pytest.fixture(params=["redis", "embedded", "decoding"])
async def redis(request: pytest.FixtureRequest, redis_server: RedisServer) -> AsyncIterator[Redis]:
    match request.param:
        case "redis":
            client: Redis = Redis.from_url(redis_server.url)
        case "decoding":
            client = Redis.from_url(redis_server.url, decode_responses=True)
        case _:
            client = FakeAsyncRedis()
    async with client:
        await client.flushall()
        yield client


async def write(drafts: Drafts, chunks: list[str], *, first: int = 0, before: str = "") -> None:
    content = before
    for index, text in enumerate(chunks, first):
        content += text
        await drafts.append("chat", "reply", index, text, content)


async def test_a_draft_grows_chunk_by_chunk(redis: Redis) -> None:
    """Content and next index belong together, whatever the script."""
    drafts = Drafts(redis)
    await drafts.start("chat", "reply")
    assert await drafts.read("chat") == Draft("reply", "", 0)
    await write(drafts, ["Grüß ", "dich, ", "🌍"])
    assert await drafts.read("chat") == Draft("reply", "Grüß dich, 🌍", 3)


async def test_a_chat_without_a_reply_has_no_draft(redis: Redis) -> None:
    """Nothing is nothing."""
    assert await Drafts(redis).read("chat") is None


async def test_a_draft_that_redis_lost_is_whole_again_with_the_next_chunk(redis: Redis) -> None:
    """A Redis that came back empty costs a chunk's time, not the draft."""
    drafts = Drafts(redis)
    await drafts.start("chat", "reply")
    await write(drafts, ["one ", "two "])
    await redis.flushall()
    assert await drafts.read("chat") is None
    await write(drafts, ["three"], first=2, before="one two ")
    assert await drafts.read("chat") == Draft("reply", "one two three", 3)


async def test_a_chunk_written_twice_is_mended(redis: Redis) -> None:
    """A repeated append shows in the length."""
    drafts = Drafts(redis)
    await drafts.start("chat", "reply")
    await write(drafts, ["one"])
    await write(drafts, ["one"])
    assert await drafts.read("chat") == Draft("reply", "one", 1)


async def test_another_replys_draft_is_replaced(redis: Redis) -> None:
    """By its start, or by its first chunk when the start was lost."""
    drafts = Drafts(redis)
    await drafts.start("chat", "old")
    await drafts.append("chat", "old", 0, "abc", "abc")
    await write(drafts, [""])
    assert await drafts.read("chat") == Draft("reply", "", 1)
    await drafts.start("chat", "next")
    assert await drafts.read("chat") == Draft("next", "", 0)


async def test_only_the_replys_own_draft_is_dropped(redis: Redis) -> None:
    """A late drop does not take the next reply's draft."""
    drafts = Drafts(redis)
    await drafts.start("chat", "new")
    await drafts.drop("chat", "reply")
    assert await drafts.read("chat") == Draft("new", "", 0)
    await drafts.drop("chat", "new")
    assert await drafts.read("chat") is None
    assert await redis.keys("*") == []


async def test_a_draft_expires(redis: Redis) -> None:
    """What nobody drops does not stay for ever."""
    drafts = Drafts(redis)
    await drafts.start("chat", "reply")
    await write(drafts, ["one"])
    for key in await redis.keys("*"):
        assert 3500 < await redis.ttl(key) <= 3600


async def test_without_redis_writing_is_skipped_and_reading_gives_none() -> None:
    """The reply goes on."""
    async with Redis(host="127.0.0.1", port=1) as redis:
        drafts = Drafts(redis)
        await drafts.start("chat", "reply")
        await drafts.append("chat", "reply", 0, "a", "a")
        assert await drafts.read("chat") is None
        await drafts.drop("chat", "reply")
