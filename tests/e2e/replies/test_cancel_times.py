"""Cancels take effect soon over two workers, however busy, and what is kept is what was sent."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from e2e.replies.streamed_replies import (
    cancel,
    chunks_of,
    finished,
    last_attempt,
    like,
    opened,
    story,
    text_of,
)
from support.client_kinds import NewClient
from support.clients import SocketClient
from support.rest import Api, Person
from support.servers import PostgresServer, RabbitServer, RedisServer
from support.stack import Service, Services

from bench.load.crowd import Crowd

CANCELS: Final = 200
STREAMS: Final = 50
TEN_A_SECOND: Final = "/slow " + "word " * 90
REPLY_SECONDS: Final = 10.5
BOUND: Final = 0.2


@asynccontextmanager
async def streaming(count: int, person: Person, at: Service) -> AsyncIterator[None]:
    """Within the block so many replies are being written, each ten words a second, to a client that reads."""
    if not count:
        yield
        return
    chats = [await person.open_chat(assistant="always") for _ in range(count)]
    async with Crowd(replies=True) as crowd:
        await crowd.connect(int(at.url.rpartition(":")[2]), [(person.token, chats)])

        async def stream() -> None:
            for number in range(100 * count):
                await person.say(chats[number % count], TEN_A_SECOND)
                await asyncio.sleep(REPLY_SECONDS / count)

        streams = asyncio.create_task(stream())
        await crowd.wait(1)
        yield
        assert not streams.done(), streams.exception()
        streams.cancel()
        await asyncio.gather(streams, return_exceptions=True)


async def timed(person: Person, socket: SocketClient, chat_id: str, reply_id: str) -> float:
    """Cancels; the seconds until the room is told. What is kept is checked."""
    started = time.perf_counter()
    assert await cancel(person, chat_id, reply_id) == 202
    await socket.wait("ai-status", where=like(replyId=reply_id, status="cancelled"))
    took = time.perf_counter() - started
    (reply,) = [message for message in socket.bodies("new-msg") if message["id"] == reply_id]
    assert reply["metadata"]["cancelled"] is True
    assert reply["content"] == text_of(last_attempt(chunks_of(socket, reply_id)))
    assert story(socket, reply_id)[-2:] == ["new-msg", "cancelled"]
    return took


def told(what: str, took: Sequence[float]) -> str:
    """The distribution in words."""
    ordered = sorted(took)
    p99 = ordered[len(ordered) * 99 // 100]
    shown = [round(seconds * 1000) for seconds in (statistics.median(took), p99, ordered[-1])]
    return "{}: {} cancels, median {} ms, p99 {} ms, worst {} ms".format(what, len(took), *shown)


@pytest.mark.matrix
@pytest.mark.timeout(600)
@pytest.mark.parametrize("streams", [0, STREAMS])
async def test_each_cancel_is_told_within_200_ms(
    streams: int, cluster: Services, alice: Person, new_client: NewClient, record_property: Any
) -> None:
    """200 of them, in replies that are being written, at rest and beside 50 other streams."""
    chat_id = await alice.open_chat(assistant="always")
    took = []
    async with streaming(streams, alice, cluster.gateways[0]):
        for _ in range(CANCELS // 20):
            socket = await opened(new_client, alice, cluster.gateways[1], chat_id)
            for number in range(20):
                asked = await alice.say(chat_id, TEN_A_SECOND)
                status = await socket.wait("ai-status", where=like(replyTo=asked["id"]))
                reply_id = status["replyId"]
                await socket.wait("ai-chunk", 1 + number % 3, where=like(replyId=reply_id))
                took.append(await timed(alice, socket, chat_id, reply_id))
            await socket.close()
    figures = told(f"beside {streams} streams", took)
    record_property("figures", figures)
    assert sorted(took)[len(took) * 99 // 100] < BOUND, figures


@pytest.fixture
async def narrow(
    postgres: PostgresServer, rabbitmq: RabbitServer, redis_server: RedisServer
) -> AsyncIterator[Services]:
    """Two workers that write one reply at a time."""
    urls = {
        "DATABASE_URL": await postgres.new_database(),
        "RABBITMQ_URL": await rabbitmq.new_vhost(),
        "REDIS_URL": redis_server.url.removesuffix("/0") + "/4",
    }
    async with Services(**urls, AI_CONCURRENCY="1") as stack:
        await stack.add("worker")
        yield stack


@pytest.mark.matrix
@pytest.mark.timeout(300)
async def test_a_reply_that_no_worker_has_begun_is_cancelled_within_200_ms(
    narrow: Services, new_client: NewClient, record_property: Any
) -> None:
    """It waits behind `AI_CONCURRENCY`; its message is empty, and the worker that comes to it passes it."""
    async with Api(narrow.api.url) as api:
        person = await api.register("alice")
        chat_id, *busy = [await person.open_chat(assistant="always") for _ in range(3)]
        socket = await opened(new_client, person, narrow.gateway, chat_id, *busy)
        done = (await finished(socket, await person.say(chat_id, "hello")))["replyId"]
        again = f"/api/chat/{chat_id}/messages/{done}/regenerate"
        took = []
        for _ in range(5):
            slow = [await person.say(each, "/slow and steady") for each in busy]
            for message in slow:
                await socket.wait("ai-status", where=like(replyTo=message["id"]))
            for _ in range(10):
                reply_id = (await person.call("POST", again)).expect(202)["replyId"]
                took.append(await timed(person, socket, chat_id, reply_id))
                assert story(socket, reply_id) == ["new-msg", "cancelled"]
            for message in slow:
                written = await socket.wait("ai-status", where=like(replyTo=message["id"]))
                assert await cancel(person, written["chatId"], written["replyId"]) == 202
        last = await person.say(chat_id, "and now")
        assert (await finished(socket, last))["status"] == "completed"
    figures = told("not begun", took)
    record_property("figures", figures)
    assert max(took) < BOUND, figures
