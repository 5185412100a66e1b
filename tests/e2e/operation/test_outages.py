"""Servers that die and come back: nothing that was answered is lost, and nobody has to help."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from support.client_kinds import NewClient
from support.clients import SocketClient
from support.rest import Api, Person
from support.servers import PostgresServer, RabbitServer, RedisServer
from support.stack import Service, Services

RECOVERY_SECONDS = 30.0


@pytest.fixture(scope="module")
async def api(services: Services) -> AsyncIterator[Api]:
    """The API of the separate processes."""
    async with Api(services.api.url) as opened:
        yield opened


@pytest.fixture(scope="module")
async def alice(api: Api) -> Person:
    """A user."""
    return await api.register("alice")


async def joined(make: NewClient, services: Services, person: Person, chat_id: str) -> SocketClient:
    """A socket in a room."""
    socket = make("js-websocket")
    await socket.connect(services.gateway.url, auth={"token": person.token})
    ack = await socket.emit("join-chat", chat_id)
    assert ack["ok"], ack
    return socket


async def ready(*services: Service, status: int = 200) -> None:
    """Waits until `/readyz` of each answers so."""
    for service in services:
        await service.until("/readyz", status, seconds=RECOVERY_SECONDS)


@asynccontextmanager
async def away(server: PostgresServer | RabbitServer | RedisServer) -> AsyncIterator[None]:
    """The server is killed; it is back after the block."""
    await server.kill()
    try:
        yield
    finally:
        await server.start()


def in_order(socket: SocketClient) -> list[int]:
    """The numbers of the messages in the order of their first arrival."""
    return list(dict.fromkeys(message["seq"] for message in socket.bodies("new-msg")))


@pytest.mark.timeout(90)
async def test_a_broker_s_death_loses_no_message(
    services: Services, rabbitmq: RabbitServer, alice: Person, new_client: NewClient
) -> None:
    """Posts are taken while RabbitMQ is away; who does as `resync` says has them all, in order."""
    chat_id = await alice.open_chat(assistant="mention")
    socket = await joined(new_client, services, alice, chat_id)
    await alice.say(chat_id, "before, @assistant")
    await socket.wait("ai-status", where=lambda status: status["status"] == "completed")
    async with away(rabbitmq):
        await alice.say_all(chat_id, [f"away {number}" for number in range(10)])
        await ready(services.api, services.gateway, services.worker, status=503)
    await ready(services.api, services.gateway, services.worker)
    await asyncio.sleep((await socket.wait("resync"))["inMs"] / 1000)
    ack = await socket.emit("join-chat", {"chatId": chat_id, "afterSeq": 2})
    assert [message["seq"] for message in ack["missed"]] == list(range(3, 13))
    assert socket.disconnected is None
    await alice.say(chat_id, "after, @assistant")
    await socket.until(lambda: 14 in in_order(socket), seconds=RECOVERY_SECONDS, what="reply")


@pytest.mark.timeout(90)
async def test_messages_flow_while_redis_is_away(
    services: Services, redis_server: RedisServer, alice: Person, new_client: NewClient
) -> None:
    """Without Redis every gateway gets everything; joins, posts and deliveries go on, and after it, too."""
    chat_id = await alice.open_chat()
    socket = await joined(new_client, services, alice, chat_id)
    async with away(redis_server):
        await alice.say_all(chat_id, ["one", "two"])
        await socket.wait("new-msg", 2)
        late = await joined(new_client, services, alice, chat_id)
        await alice.say(chat_id, "three")
        await late.wait("new-msg")
    await ready(services.api, services.gateway, services.worker)
    await alice.say(chat_id, "four")
    await socket.until(lambda: in_order(socket) == [1, 2, 3, 4], what="all four")
    await late.until(lambda: in_order(late) == [3, 4], what="the last two")


@pytest.mark.timeout(90)
async def test_without_the_database_the_api_says_so(
    services: Services, postgres: PostgresServer, alice: Person, new_client: NewClient
) -> None:
    """503 `unavailable` with `Retry-After` meanwhile; sockets stay; then all is as before."""
    chat_id = await alice.open_chat()
    socket = await joined(new_client, services, alice, chat_id)
    await alice.say(chat_id, "before")
    async with away(postgres):
        refused = await alice.post(chat_id, "away", key="k")
        assert (refused.status, refused.code) == (503, "unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["connection"] == "close"  # behind a balancer the next may go to another API
        assert await services.api.status("/readyz") == 503
        assert await services.api.status("/healthz") == 200
        other = new_client("python-websocket")
        await other.connect(services.gateway.url, auth={"token": alice.token})
        assert (await other.emit("join-chat", chat_id))["error"]["code"] == "unavailable"
    await ready(services.api)
    answer = await alice.post(chat_id, "again", key="k")
    assert answer.status == 201
    await socket.until(lambda: in_order(socket) == [1, 2], seconds=RECOVERY_SECONDS, what="both messages")


@pytest.mark.timeout(90)
async def test_a_dead_worker_s_reply_is_finished_by_another(
    services: Services, alice: Person, new_client: NewClient
) -> None:
    """The worker that writes is killed; another writes the reply, once, and the chunks make it up."""
    chat_id = await alice.open_chat(assistant="always")
    socket = await joined(new_client, services, alice, chat_id)
    asked = await alice.say(chat_id, "/slow but sure")
    await socket.wait("ai-chunk", 3)
    doomed = services.worker
    services.workers.remove(doomed)
    doomed.process.kill()
    await services.add("worker", WORKER_PORT=services.settings["WORKER_PORT"])
    status = await socket.wait("ai-status", where=lambda s: s["status"] == "completed", seconds=25)
    replies = [message for message in socket.bodies("new-msg") if message["role"] == "AI"]
    assert [(reply["id"], reply["replyTo"]) for reply in replies] == [(status["replyId"], asked["id"])]
    chunks = {chunk["index"]: chunk["content"] for chunk in socket.bodies("ai-chunk")}
    assert "".join(chunks[index] for index in sorted(chunks)) == replies[0]["content"]
