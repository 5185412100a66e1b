"""The draft of a reply being written: what a late joiner gets of it, and who learns that it is over."""

from collections.abc import AsyncIterator

import pytest
from fakeredis import FakeAsyncRedis
from redis.asyncio import Redis
from servers import RedisServer

from shared.drafts import ChunkWrite, Draft, Drafts, DraftsUnavailableError, ReplyGoneError, Standing
from shared.events import REPLY_CHUNK, Event, chat_room
from shared.interest import InterestReader


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


async def written(redis: Redis, text: str, *, index: int, attempt: int = 1) -> ChunkWrite:
    """A chunk, written as the worker does it: with the look at who is interested."""
    write = ChunkWrite("reply", attempt=attempt, index=index, text=text)
    await InterestReader(redis).gateways([Event(REPLY_CHUNK, b"", rooms=(chat_room("c"),))], first=write)
    return write


async def test_a_draft_grows_chunk_by_chunk(redis: Redis) -> None:
    """Content and next index belong together, whatever the script, empty chunks too."""
    drafts = Drafts(redis)
    assert await drafts.start("reply", 1) == Standing(1)
    assert await drafts.read("reply") == Draft("", 0, 1)
    for index, text in enumerate(["Grüß ", "dich, ", "🌍", ""]):
        assert (await written(redis, text, index=index)).whole
    assert await drafts.read("reply") == Draft("Grüß dich, 🌍", 4, 1)


async def test_a_draft_costs_what_its_text_is_long(redis_server: RedisServer) -> None:
    """Twice the chunks are twice the bytes to Redis, not four times."""

    async def bytes_for(redis: Redis, chunks: int) -> int:
        before = (await redis.info("stats"))["total_net_input_bytes"]
        await Drafts(redis).start("reply", 1)
        for index in range(chunks):
            await written(redis, "x" * 100, index=index)
        after: int = (await redis.info("stats"))["total_net_input_bytes"]
        await redis.flushall()
        return after - int(before)

    async with Redis.from_url(redis_server.url) as redis:
        await redis.flushall()
        await bytes_for(redis, 1)
        few, many = await bytes_for(redis, 100), await bytes_for(redis, 400)
    assert many < 4.4 * few


async def test_a_reply_without_an_attempt_has_no_draft(redis: Redis) -> None:
    """Nothing is nothing."""
    assert await Drafts(redis).read("reply") is None
    assert await Drafts(redis).read_surely("reply") is None
    assert await Drafts(redis).standing(["reply"]) == {"reply": Standing(0)}


async def test_a_draft_that_redis_lost_shows_and_is_written_whole(redis: Redis) -> None:
    """A Redis that came back empty costs a chunk's time, not the draft; half a draft is never read."""
    drafts = Drafts(redis)
    await drafts.start("reply", 1)
    for index, text in enumerate(["one ", "two "]):
        await written(redis, text, index=index)
    await redis.flushall()
    assert await drafts.read("reply") is None
    assert not (await written(redis, "three", index=2)).whole
    assert await drafts.read("reply") is None
    await drafts.mend("reply", 1, ["one ", "two ", "three"])
    assert await drafts.read("reply") == Draft("one two three", 3, 1)
    assert (await written(redis, ".", index=3)).whole


async def test_a_chunk_written_twice_shows(redis: Redis) -> None:
    """As after a retry of a write that had arrived."""
    await Drafts(redis).start("reply", 1)
    await written(redis, "one", index=0)
    assert not (await written(redis, "one", index=0)).whole


async def test_attempts_are_numbered_and_only_the_latest_counts(redis: Redis) -> None:
    """One that goes on after another has begun is told so, and does not touch the other's text."""
    drafts = Drafts(redis)
    assert await drafts.start("reply", 1) == Standing(1)
    await written(redis, "old ", index=0)
    assert await drafts.start("reply", 1) == Standing(2)
    assert await drafts.read("reply") == Draft("", 0, 2)
    with pytest.raises(ReplyGoneError):
        await written(redis, "zombie", index=1)
    await written(redis, "new", index=0, attempt=2)
    assert await drafts.read("reply") == Draft("new", 1, 2)
    assert await drafts.start("reply", 4) == Standing(4)
    assert (await written(redis, "newest", index=0, attempt=4)).whole


async def test_a_cancel_is_seen_with_the_next_chunk(redis: Redis) -> None:
    """Which is in the draft, so it is sent too; and no other attempt begins."""
    drafts = Drafts(redis)
    await drafts.start("reply", 1)
    assert not (await written(redis, "one ", index=0)).cancelled
    await drafts.cancel("reply")
    assert (await written(redis, "two", index=1)).cancelled
    assert (await drafts.start("reply", 2)).cancelled
    assert await drafts.read("reply") == Draft("one two", 2, 1)
    assert await drafts.standing(["reply", "other"]) == {
        "reply": Standing(1, cancelled=True),
        "other": Standing(0),
    }


async def test_what_has_ended_leaves_no_text_and_is_not_begun_again(redis: Redis) -> None:
    """A request that comes once more, or a worker that was taken for dead, writes to nobody."""
    drafts = Drafts(redis)
    await drafts.start("reply", 1)
    await drafts.start("reply", 2)
    await written(redis, "one", index=0, attempt=2)
    await drafts.end("reply")
    assert await drafts.read("reply") is None
    assert (await drafts.start("reply", 3)).ended
    with pytest.raises(ReplyGoneError):
        await written(redis, "two", index=1, attempt=2)
    assert len(await redis.keys("*")) <= 2  # its state, and the list that the chunk above began


async def test_a_draft_expires(redis: Redis) -> None:
    """What nobody ends does not stay for ever."""
    drafts = Drafts(redis)
    await drafts.start("reply", 1)
    await written(redis, "one", index=0)
    await drafts.cancel("other")
    await drafts.mend("third", 1, ["one"])
    keys = await redis.keys("*")
    assert len(keys) == 5
    for key in keys:
        assert 3500 < await redis.ttl(key) <= 3600


async def test_without_redis_writing_is_skipped_and_reading_gives_none() -> None:
    """The reply goes on."""
    async with Redis(host="127.0.0.1", port=1) as redis:
        drafts = Drafts(redis)
        assert await drafts.start("reply", 3) == Standing(3)
        await drafts.mend("reply", 3, ["a"])
        assert not (await written(redis, "a", index=0)).whole
        assert await drafts.read("reply") is None
        assert await drafts.standing(["reply"]) == {}
        await drafts.cancel("reply")
        await drafts.end("reply")
        with pytest.raises(DraftsUnavailableError):
            await drafts.read_surely("reply")
