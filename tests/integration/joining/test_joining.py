"""Joining without a hole, and leaving for good: the real gateway, an API that answers when it is told to."""

import asyncio

import fakeredis
import pytest
from integration.joining.pending_join import PendingJoin, numbers
from support.gateways import RunningGateway, eventually, message_created, running_gateway

from shared.events import (
    MESSAGE_UPDATED,
    Event,
    chat_room,
)
from ws_gateway.limits import Limits


async def test_what_comes_while_joining_follows_the_acknowledgement(gateway: RunningGateway) -> None:
    """Messages up to the acknowledged `lastSeq` are not repeated; later ones and other events follow it."""
    chat_id = gateway.api.open_chat("ada")
    client = await gateway.connect("ada")
    gateway.api.last_seq = 5
    async with PendingJoin(gateway, client, chat_id) as joining:
        await gateway.publish(
            *(message_created(chat_id, seq) for seq in (4, 5, 6)),
            Event(type=MESSAGE_UPDATED, name="msg-updated", body=b'{"seq":2}', rooms=(chat_room(chat_id),)),
            message_created(chat_id, 7),
        )
        await client.emit("heartbeat")
        assert client.names() == ["connected"]
    assert joining.answer.result()["lastSeq"] == 5
    await gateway.publish(message_created(chat_id, 8))
    await client.wait("new-msg", 3)
    assert numbers(client) == [6, 7, 8]
    names = client.names("new-msg", "msg-updated", "presence")
    assert [name for name in names if name != "presence"] == ["new-msg", "msg-updated", "new-msg", "new-msg"]


async def test_joining_while_messages_pour_in_leaves_no_hole(gateway: RunningGateway) -> None:
    """Twenty joins, each with messages before, during and after the API's answer."""
    chat_id = gateway.api.open_chat("ada")
    posted = 0
    running = True

    async def post() -> None:
        nonlocal posted
        while running:
            posted += 1
            gateway.api.last_seq = posted
            await gateway.publish(message_created(chat_id, posted))
            await asyncio.sleep(0.002)

    posting = asyncio.create_task(post())
    clients = []
    for _ in range(20):
        client = await gateway.connect("ada")
        clients.append((client, (await client.emit("join-chat", chat_id))["lastSeq"]))
    running = False
    await posting
    posted += 1
    await gateway.publish(message_created(chat_id, posted))
    for client, last_seq in clients:
        await client.wait("new-msg", posted - last_seq)
        assert numbers(client) == list(range(last_seq + 1, posted + 1))


async def test_joining_again_answers_anew(gateway: RunningGateway) -> None:
    """With `afterSeq`, the API is asked for it; the socket stays in meanwhile, and nothing comes twice."""
    chat_id = gateway.api.open_chat("ada")
    client = await gateway.join("ada", chat_id)
    gateway.api.last_seq = 2
    async with PendingJoin(gateway, client, {"chatId": chat_id, "afterSeq": 1}) as joining:
        await gateway.publish(message_created(chat_id, 2), message_created(chat_id, 3))
    assert joining.answer.result()["lastSeq"] == 2
    assert gateway.api.asked[-1] == (chat_id, {"afterSeq": "1"})
    await client.wait("new-msg")
    assert numbers(client) == [3]


async def test_joining_again_without_a_number_loses_nothing(gateway: RunningGateway) -> None:
    """The first acknowledgement's promise holds: every message above its `lastSeq` comes."""
    chat_id = gateway.api.open_chat("ada")
    client = await gateway.join("ada", chat_id)
    gateway.api.last_seq = 1
    async with PendingJoin(gateway, client, chat_id):
        await gateway.publish(message_created(chat_id, 1), message_created(chat_id, 2))
    await client.wait("new-msg", 2)
    assert numbers(client) == [1, 2]


async def test_joining_at_once_several_times_is_answered_each_time(gateway: RunningGateway) -> None:
    """Joins and leaves of one chat take their turns, in the order asked."""
    chat_id = gateway.api.open_chat("ada")
    client = await gateway.connect("ada")
    asked = [client.emit("join-chat", chat_id) for _ in range(5)]
    answers = await asyncio.gather(
        *asked, client.emit("leave-chat", chat_id), client.emit("join-chat", chat_id)
    )
    assert all(answer["ok"] for answer in answers)
    await gateway.publish(message_created(chat_id, 1))
    await client.wait("new-msg")
    await client.emit("heartbeat")
    assert numbers(client) == [1]


@pytest.mark.parametrize(
    ("status", "problem", "expected"),
    [
        (404, {"code": "not_found"}, "not_found"),
        (403, {"code": "forbidden"}, "not_found"),
        (401, {"code": "token_expired"}, "token_expired"),
        (401, {"code": "token_invalid"}, "token_invalid"),
        (401, {}, "token_invalid"),
        (500, {}, "unavailable"),
        (503, {"code": "unavailable"}, "unavailable"),
        (429, {"code": "rate_limited"}, "unavailable"),
        (302, {}, "unavailable"),
    ],
)
async def test_a_failed_join_leaves_the_socket_outside(
    gateway: RunningGateway, status: int, problem: dict[str, str], expected: str
) -> None:
    """Each failure has its code, and no message comes."""
    chat_id = gateway.api.open_chat("ada")
    client = await gateway.connect("ada")
    gateway.api.status, gateway.api.problem = status, problem
    answer = await client.emit("join-chat", chat_id)
    assert answer["error"]["code"] == expected
    await gateway.publish(message_created(chat_id, 1, "ada"))
    await client.wait("chat-activity")
    assert not numbers(client)
    assert (await client.emit("leave-chat", chat_id))["error"]["code"] == "not_joined"


async def test_a_join_goes_to_another_api_where_the_first_is_unwell(gateway: RunningGateway) -> None:
    """As it may be behind a balancer: it is asked a second time, within the same five seconds."""
    chat_id = gateway.api.open_chat("ada")
    client = await gateway.connect("ada")
    gateway.api.status, gateway.api.problem, gateway.api.times = 503, {"code": "unavailable"}, 1
    asked = len(gateway.api.asked)
    assert (await client.emit("join-chat", chat_id))["ok"]
    assert len(gateway.api.asked) == asked + 2


async def test_a_failed_second_join_leaves_the_socket_inside(gateway: RunningGateway) -> None:
    """While the API is away, who is in stays in and gets what came meanwhile."""
    chat_id = gateway.api.open_chat("ada")
    client = await gateway.join("ada", chat_id)
    gateway.api.status = 503
    async with PendingJoin(gateway, client, chat_id) as joining:
        await gateway.publish(message_created(chat_id, 1))
    assert joining.answer.result()["error"]["code"] == "unavailable"
    await gateway.publish(message_created(chat_id, 2))
    await client.wait("new-msg", 2)
    assert numbers(client) == [1, 2]


async def test_too_much_while_joining_ends_the_connection_rather_than_lose_something() -> None:
    """The client is answered, gets what was kept, nothing after the hole, and connects again."""
    limits = Limits(join_buffer_events=3)
    async with fakeredis.FakeAsyncRedis() as store, running_gateway(store, limits=limits) as gateway:
        chat_id = gateway.api.open_chat("ada")
        client = await gateway.connect("ada")
        async with PendingJoin(gateway, client, chat_id) as joining:
            await gateway.publish(*(message_created(chat_id, seq) for seq in range(1, 6)))
        await gateway.publish(message_created(chat_id, 6))
        assert joining.answer.result()["ok"]
        await client.wait_disconnected()
        assert numbers(client) == [1, 2, 3]


async def test_a_socket_that_goes_while_joining_leaves_nothing_behind(gateway: RunningGateway) -> None:
    """The answer that comes later finds nobody; the room is empty."""
    chat_id = gateway.api.open_chat("ada")
    client = await gateway.connect("ada")
    gateway.api.gate.clear()
    gateway.api.arrived.clear()
    assert client._client is not None
    await client._client.emit("join-chat", chat_id)
    await gateway.api.arrived.wait()
    await client.close()
    gateway.api.gate.set()
    await eventually(lambda: gateway.redis.exists(f"roomcast:interest:{chat_room(chat_id)}"), is_=0)
    await eventually(lambda: gateway.redis.hlen(f"roomcast:presence:{chat_id}"), is_=0)


async def test_an_api_that_does_not_answer_is_unavailable() -> None:
    """The client is told so within the bound, and the socket goes on."""
    async with fakeredis.FakeAsyncRedis() as store, running_gateway(store) as other:
        client = await other.connect("ada")
        other.api.gate.clear()
        answer = await client.emit("join-chat", other.api.open_chat("ada"))
        other.api.gate.set()
        assert answer["error"]["code"] == "unavailable"
        assert (await client.emit("heartbeat"))["ok"]


async def test_many_sockets_of_a_user_ask_for_the_same_once(gateway: RunningGateway) -> None:
    """Those who come while one question is on its way share the next: its answer is newer than their wait."""
    chat_id = gateway.api.open_chat("ada")
    clients = [await gateway.connect("ada") for _ in range(10)]
    asked = len(gateway.api.asked)
    async with PendingJoin(gateway, clients[0], chat_id) as first:
        others = [asyncio.create_task(client.emit("join-chat", chat_id)) for client in clients[1:]]
        await gateway.publish(message_created(chat_id, 1))
        await clients[9].emit("heartbeat")
        gateway.api.last_seq = 1
    answers = [await first.answer, *(await asyncio.gather(*others))]
    assert [answer["ok"] for answer in answers] == [True] * 10
    assert len(gateway.api.asked) == asked + 2


async def test_a_session_that_has_ended_spoils_no_other_sessions_join(gateway: RunningGateway) -> None:
    """The joins that shared a question with it ask for themselves."""
    chat_id = gateway.api.open_chat("ada")
    clients = [await gateway.connect("ada", token=gateway.api.token("ada", sid=sid)) for sid in "abcdef"]
    async with PendingJoin(gateway, clients[0], chat_id):
        gateway.api.refused_sessions.add("b")
        others = []
        for client in clients[1:]:
            others.append(asyncio.create_task(client.emit("join-chat", chat_id)))
            await client.emit("heartbeat")  # its question waits by now
    answers = await asyncio.gather(*others)
    assert answers[0]["error"]["code"] == "token_invalid"
    assert all(answer["ok"] for answer in answers[1:]), answers
