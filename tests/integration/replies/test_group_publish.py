"""Replies that tell their rooms at about the same time do so together, on a real Redis."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import pytest
from redis.asyncio import Redis
from support.servers import RedisServer

from ai_worker.replies.broadcast import AttemptUnknownError, ReplyBroadcast
from ai_worker.replies.cancellation import Cancellations
from ai_worker.replies.chunks import Chunk, Cut
from ai_worker.replies.group_publish import GroupPublisher
from ai_worker.replies.worker import Worker
from ai_worker.responder import Part, TextDelta
from shared.bus import BusUnavailableError, Job, Routed
from shared.bus.local import LocalBus
from shared.events import (
    REPLY_CHUNK,
    REPLY_FINISHED,
    REPLY_REQUESTED,
    Event,
    ReplyRequested,
    chat_room,
)
from shared.interest import InterestReader
from shared.store.chunk_write import ChunkWrite, ReplyCancelledError, ReplyGoneError
from shared.store.draft_layout import Standing
from shared.store.drafts import Drafts, Kept

ASKED = ReplyRequested(
    reply_id="reply", chat_id="c", reply_to="m", title="", context=None, members={}, history=()
)


class Bus(LocalBus):
    """Keeps what was published together; is as slow as told, or away."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []
        self.types: list[str] = []
        self.may_go = asyncio.Event()
        self.may_go.set()
        self.away = False

    async def publish(self, batch: Sequence[Routed]) -> None:
        self.batches.append([routed.event.id for routed in batch])
        self.types += [routed.event.type for routed in batch]
        await self.may_go.wait()
        if self.away:
            raise BusUnavailableError


class Sentence:
    """Says one."""

    async def respond(self, request: ReplyRequested) -> AsyncGenerator[Part, None]:
        yield TextDelta("A sentence.")


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_server.url) as client:
        await client.flushall()
        yield client


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
async def flushing(redis: Redis, bus: Bus) -> AsyncIterator[GroupPublisher]:
    made = GroupPublisher(bus=bus, interest=InterestReader(redis))
    work = asyncio.create_task(made.run())
    yield made
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


def chunk(name: str) -> Event:
    return Event(REPLY_CHUNK, b"{}", id=name, rooms=(chat_room("c"),))


async def begun(task: asyncio.Task[None], bus: Bus, batches: int) -> None:
    """Returns once so many batches are on their way."""
    async with asyncio.timeout(5):
        while len(bus.batches) < batches and not task.done():  # noqa: ASYNC110  the fake has no event for it
            await asyncio.sleep(0.001)


async def test_what_comes_while_a_flush_is_on_its_way_goes_together_in_the_next(
    flushing: GroupPublisher, bus: Bus
) -> None:
    """In the order in which it came; a lone event goes at once."""
    bus.may_go.clear()
    first = asyncio.create_task(flushing.publish(chunk("0")))
    await begun(first, bus, 1)
    rest = [asyncio.create_task(flushing.publish(chunk(str(number)))) for number in range(1, 40)]
    await asyncio.sleep(0)
    bus.may_go.set()
    await asyncio.gather(first, *rest)
    assert bus.batches == [["0"], [str(number) for number in range(1, 40)]]


async def test_a_refused_chunk_is_not_published_and_those_beside_it_are(
    redis: Redis, flushing: GroupPublisher, bus: Bus
) -> None:
    """Cancelled, or taken over by another worker: each is told so itself."""
    drafts = Drafts(redis)
    for name in ("going", "cancelled", "gone"):
        await drafts.start(name, 1)
    await drafts.cancel("cancelled")
    await drafts.start("gone", 2)
    writes = [ChunkWrite(name, attempt=1, index=0, text=name) for name in ("cancelled", "going", "gone")]
    published = [
        flushing.publish(chunk(str(number)), first=write)
        for number, write in enumerate([*writes, None, ChunkWrite("going", attempt=1, index=1, text="!")])
    ]
    outcomes = await asyncio.gather(*published, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [
        ReplyCancelledError,
        type(None),
        ReplyGoneError,
        type(None),
        type(None),
    ]
    assert bus.batches == [["1", "3", "4"]]
    draft = await drafts.read("going")
    assert draft is not None
    assert draft.content == "going!"


async def test_a_bus_that_is_away_fails_those_that_it_did_not_take_and_later_ones_go(
    flushing: GroupPublisher, bus: Bus
) -> None:
    """Each is told; nobody waits for ever."""
    bus.away = True
    failed = await asyncio.gather(
        *(flushing.publish(chunk(str(number))) for number in range(3)), return_exceptions=True
    )
    assert [type(failure) for failure in failed] == [BusUnavailableError] * 3
    bus.away = False
    await flushing.publish(chunk("later"))


async def test_an_outcome_waits_for_no_flush_and_holds_up_none(flushing: GroupPublisher, bus: Bus) -> None:
    """It goes on its own."""
    bus.may_go.clear()
    first = asyncio.create_task(flushing.publish(chunk("0")))
    await begun(first, bus, 1)
    outcome = asyncio.create_task(flushing.publish(Event(REPLY_FINISHED, b"{}", id="outcome")))
    await begun(outcome, bus, 2)
    assert bus.batches == [["0"], ["outcome"]]
    bus.may_go.set()
    await asyncio.gather(first, outcome)


async def test_whoever_gives_up_waiting_is_left_out(flushing: GroupPublisher, bus: Bus) -> None:
    """Its waiting event is not published after it has gone."""
    bus.may_go.clear()
    first = asyncio.create_task(flushing.publish(chunk("0")))
    await begun(first, bus, 1)
    second, third = [asyncio.create_task(flushing.publish(chunk(name))) for name in ("1", "2")]
    await asyncio.sleep(0)
    second.cancel()
    bus.may_go.set()
    await asyncio.gather(first, third)
    assert bus.batches == [["0"], ["2"]]


async def test_a_reply_is_tried_again_where_it_was_not_known_which_attempt_it_is(
    redis: Redis, bus: Bus, flushing: GroupPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that began it anew three times has died; the next one's look at Redis takes too long."""
    drafts = Drafts(redis)
    worker = Worker(
        responder=Sentence(), publisher=flushing, drafts=drafts, cancellations=Cancellations(drafts)
    )
    request = Event(REPLY_REQUESTED, ASKED.json_bytes())
    for _ in range(3):
        await drafts.start("reply", 1)
    start = drafts._start

    async def answered_too_late(reply_id: str, at_least: int) -> Standing:
        await start(reply_id, at_least)
        raise TimeoutError

    monkeypatch.setattr(drafts, "_start", answered_too_late)
    with pytest.raises(AttemptUnknownError):
        await worker.handle(Job(request, attempt=2))
    monkeypatch.undo()
    monkeypatch.setattr(drafts._store, "_until", 0.0)
    await worker.handle(Job(request, attempt=3))
    assert REPLY_FINISHED in bus.types


async def test_what_is_known_of_a_reply_goes_with_the_next_chunk_where_one_was_not_written(
    redis: Redis, flushing: GroupPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancel finds it beside the text, which was mended."""
    drafts = Drafts(redis)
    cause = Event(REPLY_REQUESTED, ASKED.json_bytes())
    broadcast = ReplyBroadcast(ASKED, cause, publisher=flushing, drafts=drafts, cut=Cut())
    await broadcast.started()
    broadcast.set_metadata({"model": "m"})

    async def unanswered(*_: object) -> None:
        raise TimeoutError

    with monkeypatch.context() as away:
        away.setattr(InterestReader, "_read", unanswered)
        await broadcast.chunk(Chunk(0, "a ", is_final=False))
    monkeypatch.setattr(flushing._interest._store, "_until", 0.0)
    await broadcast.chunk(Chunk(1, "word", is_final=False))
    assert await drafts.cancel("reply") == Kept(1, ("a ", "word"), metadata={"model": "m"})
