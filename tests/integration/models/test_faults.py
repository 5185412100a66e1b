"""Every fault of a model, against a real server that speaks OpenAI's streaming protocol."""

import asyncio
from time import perf_counter
from typing import Final

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from support.model import (
    Act,
    Breaks,
    EndsEarly,
    Hangs,
    ModelServer,
    Refuses,
    SaysNothing,
    SaysText,
    SendsRaw,
)
from support.model.asking import QUICK, answer, asking, model_at, responder_on
from support.servers.ports import free_port

from ai_worker.models.agent_responder import Limits
from ai_worker.replies.chunks import MAX_CONTENT
from ai_worker.responder import TextDelta

GOOD: Final = SaysText("A good answer.")
ERROR: Final = b'data: {"error":{"message":"x","code":"server_error"}}\n\n'
TOO_LONG: Final = Refuses(400, code="context_length_exceeded")
PATIENT: Final = Limits(silence=0.4, total=10.0, budget=10_000, pause=0.01)


MENDED: Final[dict[str, Act]] = {
    "429": Refuses(429, code="rate_limit_exceeded"),
    "429 with Retry-After": Refuses(429, headers={"Retry-After": "1"}),
    "500": Refuses(500),
    "503": Refuses(503),
    "an error in the stream": SendsRaw(ERROR),
    "a broken connection": Breaks(),
    "a hang before the headers": Hangs(),
    "a hang after the headers": Hangs(headers_first=True),
    "no JSON": SendsRaw(b"data: {nope\n\n"),
    "other JSON": SendsRaw(b'data: {"choices": [{"delta": 5}]}\n\n'),
    "no text": SendsRaw(b"data: \xff\xfe\n\n"),
    "an empty answer": SaysNothing(),
    "nothing but white space": SaysText(" \n"),
    "no stream": SendsRaw(b"<html>Sign in</html>"),
    "a request that took too long": Refuses(408),
}


@pytest.mark.parametrize("act", MENDED.values(), ids=MENDED)
async def test_what_passes_is_tried_again_before_the_first_word(
    server: ModelServer, redis: Redis, act: Act
) -> None:
    """Nobody sees anything of it."""
    server.play(act, GOOD)
    answered = await answer(responder_on(server, redis, limits=PATIENT))
    assert answered.shown == ["A good answer."]
    assert len(server.asked) == 2
    assert answered.facts["fallback"] is False


STARTED: Final[dict[str, Act]] = {
    "a broken connection": Breaks("It beg"),
    "an end without a finish": EndsEarly("It beg"),
    "a hang": Hangs("It beg"),
    "no JSON": SendsRaw(b"data: {nope\n\n", text="It beg"),
    "other JSON": SendsRaw(b'data: {"choices": "x"}\n\n', text="It beg"),
    "an error in the stream": SendsRaw(ERROR, text="It beg"),
}


@pytest.mark.parametrize("act", STARTED.values(), ids=STARTED)
async def test_what_breaks_off_begins_anew_for_all(server: ModelServer, redis: Redis, act: Act) -> None:
    """The text that was shown counts no more, and is told so before the next word."""
    server.play(act, GOOD)
    answered = await answer(responder_on(server, redis))
    assert answered.shown == ["It beg", "A good answer."]


ENDED: Final[dict[str, tuple[Act, str, int]]] = {
    "429": (Refuses(429), "model_rate_limited", 3),
    "503": (Refuses(503), "model_unavailable", 3),
    "401": (Refuses(401), "model_rejected", 1),
    "404": (Refuses(404, code="model_not_found"), "model_rejected", 1),
    "no money left": (Refuses(429, code="insufficient_quota"), "model_rejected", 1),
    "400": (Refuses(400), "model_rejected", 1),
    "405": (Refuses(405), "model_rejected", 1),
    "409": (Refuses(409), "model_unavailable", 3),
    "too long": (TOO_LONG, "context_too_long", 1),
    "too long, by its status": (Refuses(413), "context_too_long", 1),
    "too long, in llama.cpp's words": (
        Refuses(400, message="the request exceeds the available context size, try increasing it"),
        "context_too_long",
        1,
    ),
    "too long, in vLLM's words": (
        Refuses(400, message="The decoder prompt (length 9) is longer than the maximum model length of 4"),
        "context_too_long",
        1,
    ),
    "filtered at once": (Refuses(400, code="content_filter"), "content_filtered", 1),
    "filtered without a word": (SaysNothing("content_filter"), "content_filtered", 1),
    "filtered in the middle": (SaysText("It beg", finish="content_filter"), "content_filtered", 1),
    "a hang": (Hangs(), "model_timeout", 2),
    "a broken connection": (Breaks(), "model_interrupted", 3),
    "broken in the middle": (Breaks("It beg"), "model_interrupted", 3),
    "no JSON": (SendsRaw(b"data: {nope\n\n"), "model_malformed", 2),
    "an empty answer": (SaysNothing(), "empty_reply", 2),
    "nothing but white space": (SaysText(" \n"), "empty_reply", 2),
    "a page instead of a stream": (SendsRaw(b"<html>Sign in</html>"), "model_interrupted", 3),
    "cut before a word": (SaysNothing("length"), "empty_reply", 2),
}


@pytest.mark.parametrize(("act", "code", "asked"), ENDED.values(), ids=ENDED)
async def test_what_stays_ends_with_its_code(
    server: ModelServer, redis: Redis, act: Act, code: str, asked: int
) -> None:
    """After a bounded number of attempts; those that cannot help are not made."""
    server.play(act)
    answered = await answer(responder_on(server, redis))
    assert (answered.code, len(server.asked)) == (code, asked)
    assert answered.facts["model"] == "first"
    assert REGISTRY.get_sample_value("roomcast_ai_failures_total", {"code": code})


@pytest.mark.parametrize("act", [act for act, *_ in ENDED.values()], ids=ENDED)
async def test_then_the_next_model_answers(server: ModelServer, redis: Redis, act: Act) -> None:
    """The next candidate answers, whatever was wrong with the first; the metadata says who."""
    server.play(act, model="first")
    server.play(GOOD, model="second")
    answered = await answer(responder_on(server, redis, models=("first", "second")))
    assert answered.text == "A good answer."
    assert (answered.facts["model"], answered.facts["fallback"]) == ("second", True)


async def test_a_refused_connection_is_told_as_unavailable(server: ModelServer, redis: Redis) -> None:
    """And another model is asked."""
    dead = model_at(f"http://127.0.0.1:{free_port()}/v1", "dead")
    server.play(GOOD)
    alone = await answer(responder_on(server, redis, models=(), others=[dead]))
    assert alone.code == "model_unavailable"
    helped = await answer(responder_on(server, redis, others=[dead]))
    assert (helped.text, helped.facts["model"]) == ("A good answer.", "first")


async def test_a_provider_is_left_alone_for_as_long_as_it_says(server: ModelServer, redis: Redis) -> None:
    """`Retry-After` is waited for; where it is too long, its model is given up at once."""
    server.play(Refuses(429, headers={"Retry-After": "1"}), GOOD)
    started = perf_counter()
    assert (await answer(responder_on(server, redis))).text == "A good answer."
    assert 1.0 <= perf_counter() - started < 2.5
    server.play(Refuses(429, headers={"Retry-After": "60"}))
    started = perf_counter()
    assert (await answer(responder_on(server, redis))).code == "model_rate_limited"
    assert perf_counter() - started < 1


async def test_a_hang_is_not_waited_for_twice_before_another_model(server: ModelServer, redis: Redis) -> None:
    """One time-out, not two."""
    server.play(Hangs(), model="first")
    server.play(GOOD, model="second")
    answered = await answer(responder_on(server, redis, models=("first", "second")))
    assert answered.text == "A good answer."
    assert [body["model"] for body in server.asked] == ["first", "second"]
    assert answered.facts["firstTokenMs"] >= 1000 * QUICK.silence


async def test_a_whole_reply_is_bounded(server: ModelServer, redis: Redis) -> None:
    """A model that never ceases to trickle is cut; no other begins what there is no time for."""
    server.play(SaysText("word " * 1000, pause=0.05))
    limits = Limits(silence=0.4, total=1.0, budget=10_000, pause=0.01)
    started = perf_counter()
    answered = await answer(responder_on(server, redis, models=("first", "second"), limits=limits))
    assert (answered.code, len(server.asked)) == ("model_timeout", 1)
    assert 1.0 <= perf_counter() - started < 2.0


async def test_a_chat_that_is_too_long_is_asked_for_its_newer_half(server: ModelServer, redis: Redis) -> None:
    """The model gets the message to answer and fewer before it."""
    server.play(TOO_LONG, GOOD)
    answered = await answer(responder_on(server, redis), asking("one", "two", "three", "four", "five"))
    sent = [[message["content"] for message in body["messages"]] for body in server.asked]
    assert answered.text == "A good answer."
    assert sent == [
        ["Be kind.", "one", "two", "three", "four", "five"],
        ["Be kind.", "three", "four", "five"],
    ]


async def test_an_answer_cut_at_its_length_is_kept(server: ModelServer, redis: Redis) -> None:
    """With the reason in its metadata."""
    server.play(SaysText("A good answ", finish="length"))
    answered = await answer(responder_on(server, redis))
    assert (answered.text, answered.facts["finishReason"]) == ("A good answ", "length")


async def test_an_answer_longer_than_a_message_is_cut_and_says_so(server: ModelServer, redis: Redis) -> None:
    """With all metadata that there is; the model is not listened to any more."""
    server.play(SaysText("word " * 20_000))
    answered = await answer(responder_on(server, redis))
    assert answered.text.startswith("word " * (MAX_CONTENT // 5))
    assert len(answered.text) < 2 * MAX_CONTENT
    assert (answered.code, answered.facts["finishReason"]) == (None, "length")
    assert 0 < answered.facts["firstTokenMs"] <= answered.facts["totalMs"]


async def test_who_goes_away_stops_the_model(server: ModelServer, redis: Redis) -> None:
    """A cancelled reply costs no more tokens."""
    gone = asyncio.Event()

    class Endless:
        async def answer(self, reply: object) -> None:
            try:
                await SaysText("word " * 10_000, pause=0.02).answer(reply)  # type: ignore[arg-type]
            finally:
                gone.set()

    server.play(Endless())
    reply = responder_on(server, redis).respond(asking())
    assert isinstance(await anext(reply), TextDelta)
    await reply.aclose()
    async with asyncio.timeout(2):
        await gone.wait()
