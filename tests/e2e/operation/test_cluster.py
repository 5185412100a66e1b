"""Two of everything: each event reaches each socket once, and only gateways that need it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from support.client_kinds import NewClient, settled
from support.clients import SocketClient
from support.rest import Api, Person
from support.servers import RabbitServer
from support.stack import Service, Services

from shared.bus import Routed
from shared.bus.rabbit.bus import rabbit_bus
from shared.events import REPLY_REQUESTED, Event, HistoryMessage, ReplyRequested


@dataclass(frozen=True, slots=True)
class Cluster:
    """The second of each service; the first ones are the stack's."""

    stack: Services
    apis: tuple[Api, Api]
    gateways: tuple[Service, Service]


@pytest.fixture(scope="module")
async def cluster(services: Services) -> AsyncIterator[Cluster]:
    """Separate processes, two of each, the second gateway asking the second API."""
    api = await services.add("api")
    gateway = await services.add("gateway", API_URL=api.url)
    worker = await services.add("worker")
    async with Api(services.api.url) as first, Api(api.url) as second:
        yield Cluster(services, (first, second), (services.gateway, gateway))
    for service in (worker, gateway, api):
        assert await services.remove(service) == 0, service.process.output[-2_000:]


async def opened(make: NewClient, person: Person, at: Service, chat_id: str | None = None) -> SocketClient:
    """A socket at one of the gateways."""
    client = make("python-websocket" if at.url.endswith(("1", "3", "5", "7", "9")) else "js-websocket")
    await client.connect(at.url, auth={"token": person.token})
    await client.wait("connected")
    if chat_id is not None:
        ack = await client.emit("join-chat", chat_id)
        assert ack["ok"], ack
    return client


async def test_both_gateways_deliver_everything_once(cluster: Cluster, new_client: NewClient) -> None:
    """Posts through either API reach the sockets of a chat on both gateways, once, in `seq` order."""
    alice, bob = await cluster.apis[0].register("alice"), await cluster.apis[1].register("bob")
    chat_id = await alice.open_chat(bob)
    sockets = [await opened(new_client, p, at, chat_id) for p in (alice, bob) for at in cluster.gateways]
    halves = await asyncio.gather(
        alice.say_at_once(chat_id, [f"a{number}" for number in range(25)]),
        bob.say_at_once(chat_id, [f"b{number}" for number in range(25)]),
    )
    posted = sorted([*halves[0], *halves[1]], key=lambda message: message["seq"])
    assert [message["seq"] for message in posted] == list(range(1, 51))
    for socket, person in zip(sockets, (alice, alice, bob, bob), strict=True):
        await socket.wait("new-msg", 50)
        await settled(person, socket)
        assert socket.bodies("new-msg") == posted


async def test_each_request_is_answered_once(cluster: Cluster, new_client: NewClient) -> None:
    """Twelve chats ask at once: two workers write twelve replies, whole, and nobody sees one twice."""
    people = [await cluster.apis[number % 2].register("asker") for number in range(12)]
    chats = [await person.open_chat(assistant="always") for person in people]
    sockets = [
        await opened(new_client, person, cluster.gateways[number // 2 % 2], chat_id)
        for number, (person, chat_id) in enumerate(zip(people, chats, strict=True))
    ]
    asked = await asyncio.gather(
        *(person.say(chat_id, "hello there") for person, chat_id in zip(people, chats, strict=True))
    )
    for socket, question, person in zip(sockets, asked, people, strict=True):
        await socket.wait("ai-status", where=lambda s: s["status"] == "completed", seconds=20)
        await settled(person, socket)
        replies = [m for m in socket.bodies("new-msg") if m["role"] == "AI"]
        assert [reply["replyTo"] for reply in replies] == [question["id"]]
        chunks = socket.bodies("ai-chunk")
        assert [chunk["index"] for chunk in chunks] == list(range(len(chunks)))
        assert "".join(chunk["content"] for chunk in chunks) == replies[0]["content"]


async def test_an_event_goes_only_to_gateways_that_hold_its_chat(
    cluster: Cluster, new_client: NewClient
) -> None:
    """A gateway without a socket of a chat or of its members gets none of its events."""
    alice, bob = await cluster.apis[0].register("alice"), await cluster.apis[0].register("bob")
    chat_id = await alice.open_chat()
    here, there = cluster.gateways
    socket, other = await opened(new_client, alice, here, chat_id), await opened(new_client, bob, there)
    await settled(bob, other)

    async def counts() -> tuple[float, float]:
        name = "roomcast_gateway_events_total"
        return await here.metric(name, type="message.created"), await there.metric(
            name, type="message.created"
        )

    before = await counts()
    await alice.say_at_once(chat_id, [str(number) for number in range(30)])
    await socket.wait("new-msg", 30)
    await settled(bob, other)
    after = await counts()
    assert (after[0] - before[0], after[1] - before[1]) == (30, 0)


async def test_typing_and_presence_cross_gateways(cluster: Cluster, new_client: NewClient) -> None:
    """The other gateway's sockets see what a socket does at one; `online` counts both."""
    alice, bob = await cluster.apis[0].register("alice"), await cluster.apis[1].register("bob")
    chat_id = await alice.open_chat(bob)
    watcher = await opened(new_client, alice, cluster.gateways[0], chat_id)
    phone = await opened(new_client, bob, cluster.gateways[1])
    ack = await phone.emit("join-chat", chat_id)
    assert set(ack["online"]) == {alice.id, bob.id}
    await watcher.wait("presence", where=lambda p: p["userId"] == bob.id and p["online"])
    laptop = await opened(new_client, bob, cluster.gateways[0], chat_id)
    await phone.emit("typing", {"chatId": chat_id, "isTyping": True})
    for socket in (watcher, laptop):
        assert (await socket.wait("typing"))["userId"] == bob.id
    await phone.close()
    await laptop.close()
    await watcher.wait("presence", where=lambda p: p["userId"] == bob.id and not p["online"])
    seen = [p["online"] for p in watcher.bodies("presence") if p["userId"] == bob.id]
    assert seen == [True, False]


async def test_a_session_ends_on_every_gateway(cluster: Cluster, new_client: NewClient) -> None:
    """Logging out at one API drops the sockets of both gateways and is known to the other API."""
    alice = await cluster.apis[0].register("alice")
    sockets = [await opened(new_client, alice, gateway) for gateway in cluster.gateways]
    (await alice.call("POST", "/api/auth/logout")).expect(204)
    for socket in sockets:
        await socket.wait_disconnected(seconds=1)
    assert (await alice.through(cluster.apis[1]).call("GET", "/api/me")).status == 401


async def test_a_request_that_two_workers_take_at_once_is_one_message(
    cluster: Cluster, rabbitmq: RabbitServer, new_client: NewClient
) -> None:
    """Delivered again while it is being written: each attempts it, one reply is stored, the chat goes on."""
    alice = await cluster.apis[0].register("alice")
    chat_id = await alice.open_chat(assistant="always")
    socket = await opened(new_client, alice, cluster.gateways[0], chat_id)
    workers = [*cluster.stack.workers]
    before = [await worker.metric("roomcast_worker_replies_total") for worker in workers]
    asked = await alice.say(chat_id, " ".join(f"word{number}" for number in range(40)))
    reply_id = (await socket.wait("ai-status"))["replyId"]
    said = HistoryMessage(
        id=asked["id"], role="USER", user_id=alice.id, name="Alice", content=asked["content"]
    )
    request = ReplyRequested(
        reply_id=reply_id,
        chat_id=chat_id,
        reply_to=asked["id"],
        title="A chat",
        context=None,
        members={alice.id: "Alice"},
        history=(said,),
    )
    async with rabbit_bus(rabbitmq.url, name="test") as bus:
        again = [
            Routed(Event(REPLY_REQUESTED, request.json_bytes(), subject=reply_id), frozenset()) for _ in "12"
        ]
        await bus.publish(again)
    for worker, ended in zip(workers, before, strict=True):

        async def done(worker: Service = worker, ended: float = ended) -> bool:
            return await worker.metric("roomcast_worker_replies_total") > ended

        await worker.process.until(done, seconds=20)
    await socket.wait("ai-status", where=lambda status: status["status"] == "completed")
    await alice.say(chat_id, "and on")
    await socket.wait("ai-status", 2, where=lambda status: status["status"] == "completed", seconds=20)
    told = [(message["seq"], message["role"], message["replyTo"]) for message in socket.bodies("new-msg")]
    assert [(seq, role) for seq, role, _ in told] == [(1, "USER"), (2, "AI"), (3, "USER"), (4, "AI")]
    assert told[1][2] == asked["id"]


async def test_a_key_is_one_message_over_two_apis(cluster: Cluster) -> None:
    """The same Idempotency-Key at both APIs at the same time: one message."""
    alice = await cluster.apis[0].register("alice")
    chat_id = await alice.open_chat()
    twice = (alice, alice.through(cluster.apis[1]))
    answers = await asyncio.gather(*(twice[n % 2].post(chat_id, "once", key="k") for n in range(20)))
    assert sorted(answer.status for answer in answers) == [200] * 19 + [201]
    assert len({answer.raw for answer in answers}) == 1


async def test_a_gateway_drains_and_its_clients_move(cluster: Cluster, new_client: NewClient) -> None:
    """Before an orderly stop: `server-draining` with another delay for each socket; then it is gone."""
    gateway = await cluster.stack.add("gateway")
    alice = await cluster.apis[0].register("alice")
    chat_id = await alice.open_chat()
    sockets = [await opened(new_client, alice, gateway, chat_id) for _ in range(5)]
    assert await cluster.stack.remove(gateway) == 0
    delays = [(await socket.wait("server-draining"))["reconnectInMs"] for socket in sockets]
    assert len(set(delays)) > 1
    for socket in sockets:
        await socket.wait_disconnected()
    posted = await alice.say(chat_id, "meanwhile")
    moved = await opened(new_client, alice, cluster.gateways[0])
    ack = await moved.emit("join-chat", {"chatId": chat_id, "afterSeq": 0})
    assert ack["missed"] == [posted]


async def test_the_relay_moves_when_its_api_goes(cluster: Cluster, new_client: NewClient) -> None:
    """Whichever API is killed, the other goes on relaying what both have taken."""
    doomed = await cluster.stack.add("api")
    async with Api(doomed.url) as third:
        alice = await third.register("alice")
        chat_id = await alice.open_chat()
        socket = await opened(new_client, alice, cluster.gateways[1], chat_id)
        posted = await alice.say_at_once(chat_id, ["one", "two", "three"])
        doomed.process.kill()
        cluster.stack.apis.remove(doomed)
    posted.append(await alice.through(cluster.apis[0]).say(chat_id, "four"))
    await socket.wait("new-msg", 4, seconds=20)
    assert {message["id"] for message in socket.bodies("new-msg")} == {message["id"] for message in posted}
