"""A socket's requests to a gateway, and their answers: the real gateway, python-socketio's client."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import fakeredis
import pytest
from support.clients import PythonClient
from support.gateways import RunningGateway, message_created, running_gateway

from shared.events import CHAT_UPDATED, Event, chat_room, user_room
from shared.ids import new_id
from ws_gateway.limits import Limits


@pytest.fixture(scope="module")
async def gateway() -> AsyncIterator[RunningGateway]:
    async with fakeredis.FakeAsyncRedis() as store, running_gateway(store) as running:
        yield running


@pytest.fixture
async def client(gateway: RunningGateway) -> PythonClient:
    return await gateway.connect("ada")


def code(answer: dict[str, Any]) -> str:
    """The code of a refusal, which always has a message too."""
    assert answer["ok"] is False
    assert answer["error"].keys() == {"code", "message"}
    assert answer["error"]["message"]
    return str(answer["error"]["code"])


async def test_a_socket_is_told_who_it_is(gateway: RunningGateway) -> None:
    """`connected` comes once, first, right after the handshake."""
    client = await gateway.connect("ada")
    welcome = await client.wait("connected")
    assert client.names() == ["connected"]
    assert welcome.pop("socketId")
    assert welcome.pop("serverTime") < welcome.pop("tokenExpiresAt")
    assert welcome == {
        "userId": "ada",
        "sessionId": "session-ada",
        "limits": {
            "maxPayload": 65536,
            "maxRooms": 200,
            "eventsPerSecond": 100,
            "eventsBurst": 250,
            "maxSockets": 250,
        },
    }


async def test_a_joined_socket_gets_messages(gateway: RunningGateway) -> None:
    """A message reaches the sockets in its room; members' own rooms get chat-activity."""
    chat_id = gateway.api.open_chat("ada", "ben")
    ada, ben = await gateway.join("ada", chat_id), await gateway.connect("ben")
    await gateway.publish(message_created(chat_id, 1, "ada", "ben"))
    assert (await ada.wait("new-msg"))["seq"] == 1
    activity = await ben.wait("chat-activity")
    assert activity == {
        "chatId": chat_id,
        "lastSeq": 1,
        "lastMessage": {"id": "m1", "chatId": chat_id, "seq": 1, "content": "message 1"},
    }
    await ada.wait("chat-activity")
    assert ada.names("new-msg", "chat-activity") == ["new-msg", "chat-activity"]
    assert not ben.bodies("new-msg")


async def test_an_event_for_several_rooms_of_a_socket_comes_once(gateway: RunningGateway) -> None:
    """A socket in the chat's room and in the user's room gets it once."""
    chat_id = gateway.api.open_chat("ada")
    ada = await gateway.join("ada", chat_id)
    rooms = (chat_room(chat_id), user_room("ada"))
    await gateway.publish(
        Event(type=CHAT_UPDATED, name="chat-updated", body=b'{"id":"x"}', rooms=rooms),
        message_created(chat_id, 1),
    )
    await ada.wait("new-msg")
    assert len(ada.bodies("chat-updated")) == 1


@pytest.mark.parametrize("given", [(), (None,), ("ada",)])
async def test_join_user_takes_ones_own_id_or_nothing(client: PythonClient, given: tuple[Any, ...]) -> None:
    """A socket is in its user's room anyway."""
    assert await client.emit("join-user", *given) == {"ok": True}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("ben",), "forbidden"),
        (("",), "forbidden"),
        ((7,), "invalid_payload"),
        (({},), "invalid_payload"),
        (("ada", "ada"), "invalid_payload"),
        ((b"ada",), "invalid_payload"),
    ],
)
async def test_join_user_refuses_others(client: PythonClient, given: tuple[Any, ...], expected: str) -> None:
    """Another user's id is forbidden, what is no id does not fit."""
    assert code(await client.emit("join-user", *given)) == expected


SOME_ID = new_id()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), "invalid_payload"),
        ((None,), "invalid_payload"),
        ((7,), "invalid_payload"),
        (([SOME_ID],), "invalid_payload"),
        ((b"abc",), "invalid_payload"),
        (({},), "invalid_payload"),
        (({"chatId": 7},), "invalid_payload"),
        (({"chatId": b"abc"},), "invalid_payload"),
        (({"chat_id": SOME_ID},), "invalid_payload"),
        (({"chatId": SOME_ID, "other": 1},), "invalid_payload"),
        (({"chatId": SOME_ID, "afterSeq": -1},), "invalid_payload"),
        (({"chatId": SOME_ID, "afterSeq": 1.5},), "invalid_payload"),
        (({"chatId": SOME_ID, "afterSeq": "1"},), "invalid_payload"),
        (({"chatId": SOME_ID, "afterSeq": True},), "invalid_payload"),
        (({"chatId": SOME_ID, "afterSeq": 2**63},), "invalid_payload"),
        ((SOME_ID, SOME_ID), "invalid_payload"),
        (("no uuid",), "not_found"),
        (("",), "not_found"),
        (({"chatId": "../../etc"},), "not_found"),
        ((SOME_ID,), "not_found"),
        (({"chatId": SOME_ID, "afterSeq": 0},), "not_found"),
        (({"chatId": SOME_ID, "afterSeq": None},), "not_found"),
    ],
)
async def test_join_chat_refuses_what_does_not_fit(
    client: PythonClient, given: tuple[Any, ...], expected: str
) -> None:
    """Wrong shapes are invalid payloads; texts that name no chat are not found."""
    assert code(await client.emit("join-chat", *given)) == expected


async def test_upper_case_ids_name_the_same_chat(gateway: RunningGateway) -> None:
    """Ids are canonical in the acknowledgement, in rooms and in what is relayed."""
    chat_id = gateway.api.open_chat("ada")
    ada = await gateway.connect("ada")
    assert (await ada.emit("join-chat", chat_id.upper()))["chatId"] == chat_id
    assert await ada.emit("typing", {"chatId": chat_id.upper(), "isTyping": True}) == {"ok": True}
    await gateway.publish(message_created(chat_id, 1))
    await ada.wait("new-msg")
    assert await ada.emit("leave-chat", chat_id.upper()) == {"ok": True}


async def test_a_socket_that_left_gets_nothing_more(gateway: RunningGateway) -> None:
    """After `leave-chat` no message comes, and leaving again is `not_joined`."""
    chat_id = gateway.api.open_chat("ada")
    ada = await gateway.join("ada", chat_id)
    assert await ada.emit("leave-chat", chat_id) == {"ok": True}
    await gateway.publish(message_created(chat_id, 1, "ada"))
    await ada.wait("chat-activity")
    assert not ada.bodies("new-msg")
    assert code(await ada.emit("leave-chat", chat_id)) == "not_joined"


@pytest.mark.parametrize(
    ("given", "expected"),
    [((), "invalid_payload"), (({"chatId": SOME_ID},), "invalid_payload"), (("no uuid",), "not_joined")],
)
async def test_leave_chat_refuses_what_does_not_fit(
    client: PythonClient, given: tuple[Any, ...], expected: str
) -> None:
    """Only a chat id fits."""
    assert code(await client.emit("leave-chat", *given)) == expected


async def test_typing_reaches_the_other_sockets_of_the_room(gateway: RunningGateway) -> None:
    """Others see who types; the typing socket itself does not, another one of the same user does."""
    chat_id = gateway.api.open_chat("ada", "ben")
    typist, ada, ben = [await gateway.join(user, chat_id) for user in ("ada", "ada", "ben")]
    assert await typist.emit("typing", {"chatId": chat_id, "isTyping": True}) == {"ok": True}
    expected = {"chatId": chat_id, "userId": "ada", "name": "Name of ada", "isTyping": True}
    assert await ada.wait("typing") == expected
    assert await ben.wait("typing") == expected
    await gateway.publish(message_created(chat_id, 1))
    await typist.wait("new-msg")
    assert not typist.bodies("typing")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (({"chatId": SOME_ID, "isTyping": True},), "not_joined"),
        (({"chatId": SOME_ID, "isTyping": 1},), "invalid_payload"),
        (({"chatId": SOME_ID},), "invalid_payload"),
        (({"chatId": SOME_ID, "isTyping": True, "more": 1},), "invalid_payload"),
        ((SOME_ID,), "invalid_payload"),
        ((), "invalid_payload"),
    ],
)
async def test_typing_refuses_what_does_not_fit(
    client: PythonClient, given: tuple[Any, ...], expected: str
) -> None:
    """It needs a joined room and both fields."""
    assert code(await client.emit("typing", *given)) == expected


@pytest.mark.parametrize("given", [(), (None,), ({"any": "thing"},), (1, 2), (b"bytes",)])
async def test_heartbeat_takes_anything(client: PythonClient, given: tuple[Any, ...]) -> None:
    """It is answered with the time."""
    answer = await client.emit("heartbeat", *given)
    assert answer.keys() == {"ok", "time"}
    assert answer["ok"] is True
    assert answer["time"].endswith("Z")


async def test_messages_are_sent_to_the_api(client: PythonClient) -> None:
    """`send-msg` is answered by saying where to post."""
    assert code(await client.emit("send-msg", {"content": "hello"})) == "use_rest"


@pytest.mark.parametrize("event", ["nonsense", "new-msg", "", "connect", "disconnect", "message"])
async def test_other_events_are_unknown(client: PythonClient, event: str) -> None:
    """Names that Socket.IO reserves do nothing either."""
    assert code(await client.emit(event, {"a": 1})) == "unknown_event"
    assert (await client.emit("heartbeat"))["ok"]


async def test_an_event_without_an_acknowledgement_does_no_harm(client: PythonClient) -> None:
    """A client that does not ask for an answer gets none, and the socket goes on."""
    assert client._client is not None
    for event in ("join-chat", "typing", "nonsense", "heartbeat"):
        await client._client.emit(event, {"a": 1})
    assert (await client.emit("heartbeat"))["ok"]
    assert client.names() == ["connected"]


async def test_a_socket_may_be_in_so_many_rooms(gateway: RunningGateway) -> None:
    """One more is refused; joining again and joining after leaving are not."""
    async with (
        fakeredis.FakeAsyncRedis() as store,
        running_gateway(store, api=gateway.api, limits=Limits(max_rooms=2)) as small,
    ):
        client = await small.connect("ada")
        one, two, three = (gateway.api.open_chat("ada") for _ in range(3))
        assert (await client.emit("join-chat", one))["ok"]
        assert (await client.emit("join-chat", two))["ok"]
        assert code(await client.emit("join-chat", three)) == "too_many_rooms"
        assert (await client.emit("join-chat", two))["ok"]
        assert (await client.emit("leave-chat", one))["ok"]
        assert (await client.emit("join-chat", three))["ok"]


async def test_too_many_events_are_refused() -> None:
    """Past the burst an event is `rate_limited`; a while later one passes again."""
    limits = Limits(events_per_second=20, burst=5)
    async with fakeredis.FakeAsyncRedis() as store, running_gateway(store, limits=limits) as strict:
        client = await strict.connect("ada")
        answers = await asyncio.gather(*(client.emit("heartbeat") for _ in range(20)))
        refused = [answer for answer in answers if not answer["ok"]]
        assert {code(answer) for answer in refused} == {"rate_limited"}
        assert len(answers) - len(refused) in range(5, 8)
        await asyncio.sleep(0.1)
        assert (await client.emit("heartbeat"))["ok"]


async def test_an_answer_is_cut_at_what_clients_take_in_one_frame(gateway: RunningGateway) -> None:
    """Of two hundred long messages come as many as fit, over either transport, and that more wait."""
    chat_id = gateway.api.open_chat("ada")
    gateway.api.missed = [{"seq": seq, "content": "x" * 32_000} for seq in range(1, 201)]
    try:
        for transport in ("websocket", "polling"):
            client = await gateway.connect("ada", transports=(transport,))
            answer = await client.emit("join-chat", {"chatId": chat_id, "afterSeq": 0})
            assert [message["seq"] for message in answer["missed"]] == list(range(1, 33))
            assert answer["hasMore"] is True
    finally:
        gateway.api.missed = []
