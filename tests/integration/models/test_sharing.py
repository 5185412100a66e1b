"""Model state that workers share in a real Redis, breakers and answers; and what they count."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import pytest
from prometheus_client import REGISTRY
from pydantic_ai import Agent
from redis.asyncio import Redis
from support.model import CallsTool, ModelServer, Refuses, SaysText
from support.model.asking import QUICK, Answered, answer, asking, responder_on
from support.servers import RedisServer
from support.servers.ports import free_port

from ai_worker import gauges as looks
from ai_worker.gauges import refresh_gauges
from ai_worker.models.breaker import Breaker, State
from ai_worker.models.metrics import BREAKER
from ai_worker.responder import TextDelta
from shared.bus import Routed, WorkQueue
from shared.bus.local import LocalBus
from shared.events import REPLY_REQUESTED, Event, ReplyRequested

GOOD: Final = SaysText("A good answer.")


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_server.url + "/7") as store:
        await store.flushdb()
        yield store


def breaker_on(redis: Redis, *, failures: int = 3, seconds: float = 0.3, probe_seconds: float = 5) -> Breaker:
    return Breaker(redis, failures=failures, seconds=seconds, probe_seconds=probe_seconds)


async def opened(redis: Redis, seconds: float = 0.3) -> None:
    breaker = breaker_on(redis, seconds=seconds)
    for _ in range(3):
        await breaker.failed("m")


def shown(model: str = "m") -> float | None:
    return REGISTRY.get_sample_value("roomcast_ai_breaker_state", {"model": model})


def length() -> float | None:
    return REGISTRY.get_sample_value("roomcast_worker_queue_length")


async def test_faults_in_a_row_keep_all_workers_from_asking(redis: Redis) -> None:
    """Those of one worker count for another; the metric shows it; other models are not concerned."""
    one, other = breaker_on(redis), breaker_on(redis)
    for _ in range(2):
        await one.failed("m")
        assert await other.allows("m")
    await other.failed("m")
    assert not await one.allows("m")
    assert not await other.allows("m")
    assert await other.allows("another")
    assert shown() == State.OPEN


async def test_an_answer_between_faults_begins_the_row_anew(redis: Redis) -> None:
    """A model that fails now and then stays."""
    breaker = breaker_on(redis)
    for _ in range(4):
        await breaker.failed("m")
        await breaker.failed("m")
        assert await breaker.state("m") is State.CLOSED
        await breaker.succeeded("m")


async def test_one_at_a_time_tries_whether_it_is_well_again(redis: Redis) -> None:
    """Of all workers; its answer lets all of them in."""
    workers = [breaker_on(redis) for _ in range(5)]
    await opened(redis)
    await asyncio.sleep(0.35)
    allowed = await asyncio.gather(*(worker.allows("m") for worker in workers))
    assert sum(allowed) == 1
    assert shown() == State.HALF_OPEN
    await workers[0].succeeded("m")
    assert all(await asyncio.gather(*(worker.allows("m") for worker in workers)))
    assert shown() == State.CLOSED


async def test_a_try_that_fails_closes_the_door_again(redis: Redis) -> None:
    """At the first fault, not at the third."""
    breaker = breaker_on(redis)
    await opened(redis)
    await asyncio.sleep(0.35)
    assert await breaker.allows("m")
    await breaker.failed("m")
    assert await breaker.state("m") is State.OPEN


async def test_a_try_that_nobody_finished_is_made_again(redis: Redis) -> None:
    """A worker that died over it keeps nobody away for ever."""
    breaker = breaker_on(redis, probe_seconds=0.2)
    await opened(redis)
    await asyncio.sleep(0.35)
    assert await breaker.allows("m")
    assert not await breaker.allows("m")
    await asyncio.sleep(0.25)
    assert await breaker.allows("m")


async def test_a_try_that_was_cancelled_is_made_again_at_once(server: ModelServer, redis: Redis) -> None:
    """A member who goes away speaks against no model: the next reply tries it."""
    shared = breaker_on(redis, seconds=0.1)
    for _ in range(3):
        await shared.failed("first")
    await asyncio.sleep(0.15)
    server.play(SaysText("word " * 1000, pause=0.02), GOOD)
    responder = responder_on(server, redis, breaker=shared)
    reply = responder.respond(asking())
    assert isinstance(await anext(reply), TextDelta)
    assert (await answer(responder)).code == "model_unavailable"
    await reply.aclose()
    assert (await answer(responder)).text == "A good answer."


async def test_without_redis_every_model_may_be_asked() -> None:
    """And nobody waits for it each time."""
    async with Redis.from_url(f"redis://127.0.0.1:{free_port()}") as away:
        breaker = breaker_on(away)
        for _ in range(10):
            await breaker.failed("m")
        async with asyncio.timeout(2):
            assert await breaker.allows("m")


async def test_a_dead_provider_costs_the_next_user_nothing(server: ModelServer, redis: Redis) -> None:
    """Once its breaker is open, it is not asked; the next model answers at once."""
    server.play(Refuses(503), model="first")
    server.play(GOOD, model="second")
    models = ("first", "second")
    shared = breaker_on(redis, seconds=60)
    for _ in range(2):
        await answer(responder_on(server, redis, models=models, breaker=shared))
    asked = len(server.asked_of("first"))
    answered = await answer(responder_on(server, redis, models=models, breaker=shared))
    assert (answered.text, len(server.asked_of("first"))) == ("A good answer.", asked)
    alone = await answer(responder_on(server, redis, breaker=shared))
    assert (alone.code, len(server.asked_of("first"))) == ("model_unavailable", asked)


async def test_what_was_asked_does_not_open_a_breaker(server: ModelServer, redis: Redis) -> None:
    """A filtered, an unfit or an overlong message speaks against nobody's model."""
    shared = breaker_on(redis, seconds=60)
    for code in (None, "content_filter", "context_length_exceeded"):
        server.play(Refuses(400, code=code))
        for _ in range(4):
            await answer(responder_on(server, redis, breaker=shared))
    server.play(GOOD)
    assert (await answer(responder_on(server, redis, breaker=shared))).text == "A good answer."


async def test_a_question_is_answered_from_the_cache(server: ModelServer, redis: Redis) -> None:
    """By any worker, marked, as long as the cache holds it; another context is another question."""
    server.play(GOOD, SaysText("Another one."))
    first = await answer(responder_on(server, redis, ttl=60))
    second = await answer(responder_on(server, redis, ttl=60))
    assert (first.facts["cache"], second.facts["cache"], second.text) == (False, True, first.text)
    assert first.facts.keys() == second.facts.keys()
    assert second.facts["model"] == "first"
    assert [part for part in second.parts if isinstance(part, TextDelta)] == [TextDelta(first.text)]
    other = await answer(responder_on(server, redis, ttl=60), asking(context={"a": 1}))
    assert (other.text, len(server.asked)) == ("Another one.", 2)
    (key,) = [key async for key in redis.scan_iter("roomcast:answer:*") if b"" in key][:1]
    assert 0 < await redis.ttl(key) <= 60


async def test_only_a_first_question_is_answered_from_the_cache(server: ModelServer, redis: Redis) -> None:
    """Not one with history, not one that took a tool, not one to be answered anew, not while it is off."""
    server.play(GOOD)

    async def asks(ttl: int, *requests: ReplyRequested) -> list[Answered]:
        return [await answer(responder_on(server, redis, ttl=ttl), request) for request in requests]

    answered = await asks(0, asking("a"), asking("a"))
    answered += await asks(60, asking("b", "c"), asking("b", "c"))
    answered += await asks(60, asking("d"), asking("d", regenerates="an earlier reply"))
    agent = Agent()

    @agent.tool_plain
    def today() -> str:
        return "today"

    server.play(CallsTool("today"), GOOD, CallsTool("today"), GOOD)
    for _ in range(2):
        answered.append(await answer(responder_on(server, redis, ttl=60, agent=agent), asking("e")))
    assert [each.facts["cache"] for each in answered] == [False] * 8
    assert len(server.asked) == 10


async def test_metadata_tells_who_answered_and_what_it_took(server: ModelServer, redis: Redis) -> None:
    """Model, tokens, times, finish reason, fallback, cache; the metrics count the same."""
    labels = {"model": "counted", "direction": "out"}
    before = REGISTRY.get_sample_value("roomcast_ai_tokens_total", labels) or 0
    server.play(SaysText("A good answer.", pause=0.05, usage={"prompt_tokens": 30, "completion_tokens": 4}))
    facts = (await answer(responder_on(server, redis, models=("counted",)))).facts
    first, total = facts.pop("firstTokenMs"), facts.pop("totalMs")
    assert facts == {
        "model": "counted",
        "tokensIn": 30,
        "tokensOut": 4,
        "finishReason": "stop",
        "fallback": False,
        "cache": False,
    }
    assert 0 < first < total < 1000 * QUICK.total
    assert REGISTRY.get_sample_value("roomcast_ai_tokens_total", labels) == before + 4
    ok = {"model": "counted", "outcome": "ok"}
    assert REGISTRY.get_sample_value("roomcast_ai_requests_total", ok)
    assert REGISTRY.get_sample_value("roomcast_ai_first_token_seconds_count", {"model": "counted"})


async def test_the_gauges_follow_what_others_do(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue's length, and a breaker that another worker opened."""
    monkeypatch.setattr(looks, "LOOK_SECONDS", 0.02)
    bus = LocalBus()
    looking = asyncio.create_task(refresh_gauges(bus, breaker_on(redis), ["m"]))
    try:
        await opened(redis, seconds=60)
        BREAKER.labels("m").set(State.CLOSED)  # as a worker shows it that has had no part in it
        for _ in range(3):
            await bus.publish([Routed(Event(REPLY_REQUESTED, b"{}"), frozenset())])
        assert await bus.count_waiting(WorkQueue.ASSISTANT_REQUESTS) == 3
        async with asyncio.timeout(2):
            while (length(), shown()) != (3, State.OPEN):  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # a gauge tells nobody
    finally:
        looking.cancel()


@pytest.mark.parametrize("tried_by_another", [False, True])
async def test_a_reply_cancelled_as_it_asks_to_try_a_model_leaves_it_to_others(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, *, tried_by_another: bool
) -> None:
    """Redis has carried out its wish, and only the answer is missing; it ends no try but its own."""
    await opened(redis, seconds=0.05)
    await asyncio.sleep(0.1)
    one, other = breaker_on(redis), breaker_on(redis)
    if tried_by_another:
        assert await other.allows("m")
    execute: Callable[..., Awaitable[object]] = Redis.execute_command
    done = asyncio.Event()

    async def unanswered(client: Redis, *arguments: object, **options: object) -> object:
        answer = await execute(client, *arguments, **options)
        if arguments[0] == "SET":
            done.set()
            await asyncio.get_running_loop().create_future()
        return answer

    with monkeypatch.context() as slow:
        slow.setattr(Redis, "execute_command", unanswered)
        asked = asyncio.create_task(one.allows("m"))
        await asyncio.wait_for(done.wait(), 5)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
    assert await other.allows("m") is not tried_by_another
