"""Replies by models over separate processes and real servers, as the official client sees them.

The model is a server of the tests that speaks OpenAI's streaming protocol by a script for each question.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
from support.client_kinds import NewClient
from support.clients import SocketClient
from support.model import (
    Act,
    Breaks,
    CallsTool,
    EndsEarly,
    Hangs,
    ModelServer,
    Refuses,
    SaysNothing,
    SaysText,
    SendsRaw,
    model_server,
)
from support.rest import Api, Person
from support.servers import PostgresServer, RabbitServer, RedisServer
from support.stack import ROOT, Services

from chat_api.replies.failure_texts import OTHERWISE, sentence

GOOD: Final = SaysText("A good answer.")
SECONDS: Final = 40.0

FAULTS: Final[dict[str, tuple[tuple[Act, ...], str]]] = {
    "429": ((Refuses(429, headers={"Retry-After": "30"}),), "model_rate_limited"),
    "5xx": ((Refuses(503),), "model_unavailable"),
    "a wrong key": ((Refuses(401),), "model_rejected"),
    "a hang": ((Hangs(),), "model_timeout"),
    "a hang in the middle": ((Hangs("It beg"),), "model_timeout"),
    "a cut": ((Breaks("It beg"),), "model_interrupted"),
    "an early end": ((EndsEarly("It beg"),), "model_interrupted"),
    "malformed chunks": ((SendsRaw(b"data: {nope\n\n", text="It beg"),), "model_malformed"),
    "a content filter": ((SaysText("It beg", finish="content_filter"),), "content_filtered"),
    "a long context": ((Refuses(400, code="context_length_exceeded"),), "context_too_long"),
    "a tool that raises": ((CallsTool("burst"),), "tool_failed"),
    "an empty answer": ((SaysNothing(),), "empty_reply"),
}
"""Scripts that end a reply, and the code that it ends with."""

MENDED: Final[dict[str, tuple[tuple[Act, ...], int]]] = {
    "429 once": ((Refuses(429, headers={"Retry-After": "1"}), GOOD), 1),
    "5xx once": ((Refuses(503), GOOD), 1),
    "a cut once": ((Breaks("It beg"), GOOD), 2),
    "malformed once": ((SendsRaw(b"data: {nope\n\n", text="It beg"), GOOD), 2),
    "empty once": ((SaysNothing(), GOOD), 1),
}
"""Scripts that come to a good end, and in which attempt that is to be seen."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Roomcast with two models of one server."""

    server: ModelServer
    services: Services
    api: Api
    person: Person


@pytest.fixture(scope="module")
async def ground(
    postgres: PostgresServer, rabbitmq: RabbitServer, redis_server: RedisServer
) -> AsyncIterator[Ground]:
    """Its worker is given an operator's own agent, and a breaker that never opens."""
    async with model_server() as server:
        settings = {
            "DATABASE_URL": await postgres.new_database(),
            "RABBITMQ_URL": await rabbitmq.new_vhost(),
            "REDIS_URL": redis_server.url + "/5",
            "AI_MODEL": "openai:first,openai:second",
            "AI_AGENT": "support.model.agent:agent",
            "AI_FIRST_TOKEN_TIMEOUT": "2",
            "AI_BREAKER_FAILURES": "1000",
            "OPENAI_BASE_URL": server.url,
            "OPENAI_API_KEY": "key",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
        }
        async with Services(**settings) as services, Api(services.api.url) as api:
            yield Ground(server, services, api, await api.register("asker"))


async def asked(ground: Ground, make: NewClient, question: str, **chat: Any) -> tuple[Any, SocketClient]:
    """The last `ai-status` of the reply to a question in a chat of its own, and the socket that saw it."""
    socket = make("js-websocket")
    await socket.connect(ground.services.gateway.url, auth={"token": ground.person.token})
    chat_id = await ground.person.open_chat(assistant="always", **chat)
    assert (await socket.emit("join-chat", chat_id))["ok"]
    await ground.person.say(chat_id, question)
    ends = {"completed", "failed"}
    status = await socket.wait("ai-status", where=lambda body: body["status"] in ends, seconds=SECONDS)
    return status, socket


def shown(socket: SocketClient) -> dict[int, str]:
    """The text of each attempt."""
    texts: dict[int, str] = {}
    for chunk in socket.bodies("ai-chunk"):
        attempt = chunk.get("attempt", 1)
        assert chunk["index"] == 0 or attempt in texts
        texts[attempt] = texts.get(attempt, "") + chunk["content"]
    return texts


@pytest.mark.timeout(150)
async def test_every_fault_ends_with_its_code_in_plain_words(ground: Ground, new_client: NewClient) -> None:
    """Of both models: `failed` with the code, a SYSTEM message that says it, and no AI message."""
    for question, (acts, _) in FAULTS.items():
        ground.server.play(*acts, question=question)
    seen = await asyncio.gather(*(asked(ground, new_client, question) for question in FAULTS))
    for (question, (_, code)), (status, socket) in zip(FAULTS.items(), seen, strict=True):
        told = [message for message in socket.bodies("new-msg") if message["role"] != "USER"]
        assert (status["status"], status["data"]["code"]) == ("failed", code), question
        assert [message["role"] for message in told] == ["SYSTEM"], question
        assert told[0]["content"] == sentence(code) != OTHERWISE, question
        assert told[0]["metadata"]["code"] == code, question
    assert "secret" not in ground.services.worker.process.output


@pytest.mark.timeout(90)
async def test_a_fault_that_passes_leaves_a_whole_reply(ground: Ground, new_client: NewClient) -> None:
    """Unseen before the first word; after it the next attempt replaces what was shown."""
    for question, (acts, _) in MENDED.items():
        ground.server.play(*acts, question=question)
    seen = await asyncio.gather(*(asked(ground, new_client, question) for question in MENDED))
    for (question, (_, attempt)), (status, socket) in zip(MENDED.items(), seen, strict=True):
        reply = socket.bodies("new-msg")[-1]
        assert status["status"] == "completed", question
        assert (reply["role"], reply["content"]) == ("AI", "A good answer."), question
        texts = shown(socket)
        assert (max(texts), texts[attempt]) == (attempt, "A good answer."), question


async def test_another_model_stands_in(ground: Ground, new_client: NewClient) -> None:
    """The message's metadata says which, what it took, and why it ended."""
    ground.server.play(Refuses(401), model="first", question="fall back")
    ground.server.play(GOOD, model="second", question="fall back")
    _, socket = await asked(ground, new_client, "fall back")
    metadata = socket.bodies("new-msg")[-1]["metadata"]
    assert 0 < metadata.pop("firstTokenMs") <= metadata.pop("totalMs")
    assert metadata == {
        "model": "openai:second",
        "fallback": True,
        "cache": False,
        "tokensIn": 11,
        "tokensOut": 7,
        "finishReason": "stop",
    }
    worker = ground.services.worker
    assert (
        await worker.metric("roomcast_ai_requests_total", model="openai:first", outcome="model_rejected") >= 1
    )
    assert await worker.metric("roomcast_ai_tokens_total", model="openai:second", direction="out") >= 7


async def test_an_own_agents_tool_is_seen_at_work(ground: Ground, new_client: NewClient) -> None:
    """Its name and what it does, before the answer; the agent was given the chat's context."""
    ground.server.play(CallsTool("add", '{"a": 1, "b": 2}'), SaysText("Three."), question="one and two?")
    _, socket = await asked(ground, new_client, "one and two?", context={"purpose": "sums"})
    statuses = [(body["status"], body["data"]) for body in socket.bodies("ai-status")]
    assert statuses == [
        ("thinking", {}),
        ("tool_calling", {"tool": "add", "description": "Adds two numbers."}),
        ("tool_completed", {"tool": "add"}),
        ("completed", {}),
    ]
    assert socket.bodies("new-msg")[-1]["content"] == "Three."
    assert ground.server.asked[-1]["messages"][0] == {"role": "system", "content": "Purpose: sums"}


async def test_a_server_that_is_away_is_told_and_comes_back(ground: Ground, new_client: NewClient) -> None:
    """Nobody listens there: `model_unavailable`; once it is back, the next message is answered."""
    ground.server.play(GOOD)
    async with ground.server.away():
        status, _ = await asked(ground, new_client, "are you there?")
        assert (status["status"], status["data"]) == ("failed", {"code": "model_unavailable"})
    status, _ = await asked(ground, new_client, "and now?")
    assert status["status"] == "completed"
