"""A rolling upgrade: what a synthetic next version publishes does no harm, and reaches whom it may."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiormq
import orjson
import pytest
from aiormq.abc import AbstractChannel
from support.client_kinds import NewClient
from support.clients import SocketClient
from support.rest import Api, Person
from support.servers import RabbitServer
from support.stack import Services

from shared.bus.rabbit.cloudevents import BATCH, record_of
from shared.bus.rabbit.dead_letters import DeadLetter, dead_letters
from shared.bus.rabbit.topology import DEAD_LETTERS, EVENTS
from shared.events import (
    MESSAGE_CREATED,
    REPLY_FINISHED,
    REPLY_REQUESTED,
    Event,
    HistoryMessage,
    ReplyRequested,
    chat_room,
)
from shared.ids import new_id


class NextVersion:
    """Publishes as a version of tomorrow does."""

    def __init__(self, channel: AbstractChannel) -> None:
        self._channel = channel

    async def publish(self, event: Event, *, key: str, **attributes: Any) -> None:
        """One event, with attributes that this version does not know, or that are other than it expects."""
        named = {"cloudEvents_" + name: value for name, value in {**event.attributes(), **attributes}.items()}
        properties = aiormq.spec.Basic.Properties(content_type="application/json", headers=named)
        await self._channel.basic_publish(event.body, exchange=EVENTS, routing_key=key, properties=properties)

    async def publish_batch(self, *records: bytes) -> None:
        """Several for every gateway."""
        properties = aiormq.spec.Basic.Properties(content_type=BATCH)
        await self._channel.basic_publish(
            b"".join(records), exchange=EVENTS, routing_key="gateway.all", properties=properties
        )

    async def empty(self) -> None:
        """Removes earlier dead letters."""
        await self._channel.queue_purge(DEAD_LETTERS)


@pytest.fixture
async def tomorrow(services: Services, rabbitmq: RabbitServer) -> AsyncIterator[NextVersion]:
    connection = await aiormq.connect(rabbitmq.url)
    channel = await connection.channel()
    version = NextVersion(channel)
    await version.empty()
    yield version
    await version.empty()
    await connection.close()


@asynccontextmanager
async def joined(
    services: Services, new_client: NewClient, **chat: Any
) -> AsyncIterator[tuple[Person, str, SocketClient]]:
    """Somebody in a chat, and a socket in its room."""
    async with Api(services.api.url) as api:
        alice = await api.register("alice")
        chat_id = await alice.open_chat(**chat)
        socket = new_client("python-websocket")
        await socket.connect(services.gateway.url, auth={"token": alice.token})
        assert (await socket.emit("join-chat", chat_id))["ok"]
        yield alice, chat_id, socket


async def letter(rabbitmq: RabbitServer) -> DeadLetter:
    """The dead letter that comes."""
    async with asyncio.timeout(20):
        while True:
            async with dead_letters(rabbitmq.url) as letters:
                async for taken in letters:
                    return taken.letter
            await asyncio.sleep(0.1)


async def test_a_gateway_relays_what_it_can_and_ignores_the_rest(
    services: Services, new_client: NewClient, tomorrow: NextVersion
) -> None:
    """An unknown type with rooms and a name is relayed; without, it is nobody's; known types go on."""
    async with joined(services, new_client) as (alice, chat_id, socket):
        room = chat_room(chat_id)
        poll = Event("poll.opened", b'{"poll":1}', name="poll-opened", rooms=(room,), subject=chat_id)
        await tomorrow.publish(poll, key="gateway.all", priority=5, audience=["everyone"])
        await tomorrow.publish(Event("audit.noted", b"not even JSON"), key="gateway.all")
        await tomorrow.publish(Event("audit.told", b"{}", name="audit", subject=chat_id), key="gateway.all")
        assert await socket.wait("poll-opened") == {"poll": 1}
        posted = await alice.say(chat_id, "hello")
        assert await socket.wait("new-msg") == posted
        assert socket.bodies("audit") == []


async def test_an_event_of_another_specification_is_passed_over(
    services: Services, new_client: NewClient, tomorrow: NextVersion
) -> None:
    """CloudEvents 2: counted, and neither the events beside it nor those after it are lost."""
    before = await services.gateway.metric("roomcast_bus_undecodable_messages_total")
    async with joined(services, new_client) as (alice, chat_id, socket):
        known = [
            Event(MESSAGE_CREATED, orjson.dumps({"n": n}), name="probe", rooms=(chat_room(chat_id),))
            for n in (1, 2)
        ]
        newer = record_of(known[0]).replace(b'"specversion":"1.0"', b'"specversion":"2.0"')
        assert b"2.0" in newer
        await tomorrow.publish_batch(record_of(known[0]), newer, record_of(known[1]))
        await tomorrow.publish(known[0], key="gateway.all", specversion="2.1", id=new_id())
        await socket.wait("probe", 2)
        posted = await alice.say(chat_id, "hello")
        assert await socket.wait("new-msg") == posted
        assert socket.bodies("probe") == [{"n": 1}, {"n": 2}]
    assert await services.gateway.metric("roomcast_bus_undecodable_messages_total") == before + 2


@pytest.mark.parametrize(
    ("type_", "key", "attributes", "reason"),
    [
        ("reply.reviewed", REPLY_FINISHED, {}, "reply.reviewed"),
        (REPLY_FINISHED, REPLY_FINISHED, {"specversion": "2.0"}, "specversion '2.0' is not 1.x"),
        ("reply.sketched", REPLY_REQUESTED, {}, "reply.sketched"),
        (REPLY_REQUESTED, REPLY_REQUESTED, {"specversion": "2.0"}, "specversion '2.0' is not 1.x"),
    ],
)
async def test_work_that_is_not_understood_is_a_dead_letter_with_the_reason(
    services: Services,
    rabbitmq: RabbitServer,
    tomorrow: NextVersion,
    type_: str,
    key: str,
    attributes: dict[str, str],
    reason: str,
) -> None:
    """An unknown type, or another specification, in the queues of the API and of the workers."""
    event = Event(type_, b'{"replyId":"r","chatId":"c"}')
    await tomorrow.publish(event, key=key, **attributes)
    found = await letter(rabbitmq)
    assert (found.id, reason in found.reason) == (event.id, True), found.reason


async def test_known_work_with_more_fields_is_done(
    services: Services, new_client: NewClient, tomorrow: NextVersion
) -> None:
    """A worker writes a reply from a request that says more than it knows; the API stores it."""
    async with joined(services, new_client, assistant="always") as (alice, chat_id, socket):
        await alice.say(chat_id, "hello")
        await socket.wait("ai-status", where=lambda status: status["status"] == "completed")
        said = HistoryMessage(id=new_id(), role="USER", user_id=alice.id, name="Alice", content="and again")
        request = ReplyRequested(
            reply_id=new_id(),
            chat_id=chat_id,
            reply_to=said.id,
            title="A chat",
            context=None,
            members={alice.id: "Alice"},
            history=(said,),
        )
        body = {**orjson.loads(request.json_bytes()), "tone": "warm", "budget": {"tokens": 5}}
        body["history"][0]["attachments"] = ["a.png"]
        event = Event(REPLY_REQUESTED, orjson.dumps(body), subject=request.reply_id)
        await tomorrow.publish(event, key=REPLY_REQUESTED, datacontenttype="application/json", tenant="t")
        last = await socket.wait(
            "ai-chunk", where=lambda c: c["replyId"] == request.reply_id and c["isFinal"]
        )
        assert last["chatId"] == chat_id
        chunks = [c["content"] for c in socket.bodies("ai-chunk") if c["replyId"] == request.reply_id]
        assert "and again" in "".join(chunks)
        # Nobody had asked for this reply: what the worker wrote is stored nowhere, and the chat goes on.
        await alice.say(chat_id, "more")
        await socket.wait("ai-status", 2, where=lambda status: status["status"] == "completed")
        seqs = [message["seq"] for message in socket.bodies("new-msg")]
        assert seqs == [1, 2, 3, 4]
