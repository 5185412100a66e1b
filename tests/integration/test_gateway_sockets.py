"""Sockets of a real gateway: handshake, what they may ask, what they get."""

from collections.abc import AsyncIterator

import fakeredis
import pytest
from gateways import RunningGateway, message_created, running_gateway


@pytest.fixture(scope="module")
async def gateway() -> AsyncIterator[RunningGateway]:
    async with fakeredis.FakeAsyncRedis() as store, running_gateway(store) as running:
        yield running


async def test_a_socket_is_told_who_it_is(gateway: RunningGateway) -> None:
    """`connected` comes once, right after the handshake."""
    client = await gateway.connect("ada")
    welcome = await client.wait("connected")
    assert client.names() == ["connected"]
    assert welcome["userId"] == "ada"
    assert welcome["sessionId"] == "session-ada"
    assert welcome["limits"] == {"maxPayload": 65536, "maxRooms": 200, "eventsPerSecond": 50}


async def test_a_joined_socket_gets_messages(gateway: RunningGateway) -> None:
    """A message reaches the sockets in its room, with chat-activity in the members' own rooms."""
    chat_id = gateway.api.open_chat("ada", "ben")
    ada, ben = await gateway.join("ada", chat_id), await gateway.connect("ben")
    await gateway.publish(message_created(chat_id, 1, "ada", "ben"))
    assert (await ada.wait("new-msg"))["seq"] == 1
    activity = await ben.wait("chat-activity")
    assert activity["chatId"] == chat_id
    assert activity["lastSeq"] == 1
    assert activity["lastMessage"]["seq"] == 1
    assert not ben.bodies("new-msg")
