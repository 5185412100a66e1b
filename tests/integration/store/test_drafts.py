"""The draft of a reply being written: what a late joiner gets of it, and who learns that it is over."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis
from redis.asyncio import Redis
from support.servers import RedisServer

from shared.events import REPLY_CHUNK, Event, chat_room
from shared.interest import InterestReader
from shared.store.chunk_write import ChunkWrite, ReplyCancelledError, ReplyGoneError
from shared.store.draft_layout import Standing
from shared.store.drafts import Draft, Drafts, DraftsUnavailableError, Kept


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


async def written(
    redis: Redis,
    text: str,
    *,
    index: int,
    attempt: int = 1,
    is_final: bool = False,
    reply_id: str = "reply",
    metadata: dict[str, Any] | None = None,
) -> ChunkWrite:
    """A chunk, written as the worker does it: with the look at who is interested."""
    write = ChunkWrite(
        reply_id, attempt=attempt, index=index, text=text, is_final=is_final, metadata=metadata
    )
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


async def test_a_cancel_draws_a_line_through_the_draft(redis: Redis) -> None:
    """The text from before counts, for whoever asks; the next chunk does not, and no attempt begins."""
    drafts = Drafts(redis)
    await drafts.start("reply", 1)
    assert not (await written(redis, "one ", index=0)).cancelled
    assert await drafts.cancel("reply") == Kept(1, ("one ",))
    with pytest.raises(ReplyCancelledError):
        await written(redis, "two", index=1)
    assert (await drafts.start("reply", 2)).cancelled
    assert await drafts.read("reply") == Draft("one ", 1, 1)
    assert await drafts.cancel("reply") == Kept(1, ("one ",))
    assert await drafts.standing(["reply", "other"]) == {
        "reply": Standing(1, kept=1),
        "other": Standing(0),
    }


async def test_a_reply_that_no_worker_has_begun_is_not_begun_after_its_cancel(redis: Redis) -> None:
    """It came to nothing."""
    drafts = Drafts(redis)
    assert await drafts.cancel("reply") == Kept(0)
    assert (await drafts.start("reply", 1)).cancelled
    assert await drafts.cancel("reply") == Kept(0)


async def test_what_is_kept_says_whether_its_last_chunk_is_the_final_one(redis: Redis) -> None:
    """Of the attempt that counts: another's does not."""
    drafts = Drafts(redis)
    for name in ("whole", "again"):
        await drafts.start(name, 1)
        for index in range(2):
            await written(redis, "word ", index=index, is_final=index == 1, reply_id=name)
    await drafts.start("again", 2)
    for index in range(2):
        await written(redis, "word ", index=index, attempt=2, reply_id="again")
    assert await drafts.cancel("whole") == Kept(1, ("word ", "word "), is_final=True)
    assert await drafts.cancel("again") == Kept(2, ("word ", "word "))


async def test_what_is_known_of_an_attempt_is_kept_with_its_text(redis: Redis) -> None:
    """A text that an earlier attempt's worker knew does not count."""
    drafts = Drafts(redis)
    await drafts.start("reply", 1)
    await written(redis, "word", index=0, metadata={"model": "a"})
    await drafts.start("reply", 2)
    await written(redis, "word", index=0, attempt=2)
    assert (await written(redis, ".", index=1, attempt=2, metadata={"model": "b"}, is_final=True)).whole
    expected = Kept(2, ("word", "."), is_final=True, metadata={"model": "b"})
    assert await drafts.cancel("reply") == expected
    assert await drafts.cancel("reply") == expected
    await drafts.start("other", 1)
    await written(redis, "word", index=0, metadata={"model": "a"}, reply_id="other")
    await drafts.start("other", 2)
    assert await drafts.cancel("other") == Kept(2)


async def test_of_chunks_and_a_cancel_at_the_same_time_exactly_those_sent_count(redis: Redis) -> None:
    """Wherever the cancel falls: the writer sends what is kept, and no more."""
    drafts = Drafts(redis)
    for number in range(50):
        name = f"reply-{number}"
        await drafts.start(name, 1)

        async def write(name: str = name) -> int:
            for index in range(100):
                try:
                    await written(redis, "x", index=index, reply_id=name)
                except ReplyCancelledError:
                    return index
                await asyncio.sleep(0.002)  # as fast as a chunk is confirmed, at best
            return 100

        writing = asyncio.create_task(write())
        await asyncio.sleep(number * 0.0007)
        kept = await drafts.cancel(name)
        sent = await writing
        assert len(kept.texts) == sent
        assert await drafts.cancel(name) == kept
        assert await drafts.read(name) == Draft("x" * sent, sent, 1)


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
    """A draft that nobody ends does not stay for ever."""
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
        assert await drafts.start("reply", 3) == Standing(3, known=False)
        await drafts.mend("reply", 3, ["a"])
        assert not (await written(redis, "a", index=0)).whole
        assert await drafts.read("reply") is None
        assert await drafts.standing(["reply"]) == {}
        await drafts.end("reply")
        with pytest.raises(DraftsUnavailableError):
            await drafts.cancel("reply")


async def test_a_chunk_that_comes_after_the_end_leaves_nothing_for_ever(redis: Redis) -> None:
    """A cancelled reply may end before its worker has heard of it."""
    drafts = Drafts(redis)
    await drafts.start("reply", 1)
    await written(redis, "a", index=0)
    await drafts.cancel("reply")
    await drafts.end("reply")
    with pytest.raises(ReplyGoneError):
        await written(redis, "b", index=1)
    assert [key for key in await redis.keys("roomcast:reply:*") if await redis.ttl(key) < 0] == []
