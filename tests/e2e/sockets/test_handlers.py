"""A socket's requests, and their answers."""

from typing import Any

import pytest
from support.client_kinds import Connect, Register, each_client
from support.rest import Person

UNKNOWN = "01890000-0000-7000-8000-000000000000"


def refused(ack: Any) -> str:
    """The code of a refusal that has the contract's shape."""
    assert ack["ok"] is False, ack
    assert set(ack) == {"ok", "error"}, ack
    assert isinstance(ack["error"]["message"], str), ack
    return str(ack["error"]["code"])


@each_client
async def test_connecting_tells_who_one_is(connect: Connect, register: Register) -> None:
    """`connected` comes first, once, with user, session, times and limits."""
    alice = await register("alice")
    socket = await connect(alice)
    assert socket.names() == ["connected"]
    (greeting,) = socket.bodies("connected")
    assert greeting["userId"] == alice.id
    assert set(greeting) >= {
        "userId", "sessionId", "socketId", "serverTime", "tokenExpiresAt", "limits"
    }  # fmt: skip
    assert set(greeting["limits"]) >= {"maxPayload", "maxRooms", "eventsPerSecond"}
    assert all(isinstance(limit, int) for limit in greeting["limits"].values())
    assert greeting["tokenExpiresAt"].endswith("Z")


@each_client
async def test_small_questions_are_answered(connect: Connect, register: Register) -> None:
    """`join-user`, `heartbeat`, `leave-chat`, `send-msg`, and events that nobody knows."""
    alice, bob = await register("alice"), await register("bob")
    socket = await connect(alice)
    assert await socket.emit("join-user") == {"ok": True}
    assert await socket.emit("join-user", alice.id) == {"ok": True}
    assert refused(await socket.emit("join-user", bob.id)) == "forbidden"
    for payload in [(), ("x",), ({"deep": [1, {"er": None}]},), (1, 2, 3)]:
        beat = await socket.emit("heartbeat", *payload)
        assert beat["ok"] is True
        assert beat["time"].endswith("Z")
    assert refused(await socket.emit("send-msg", {"chatId": UNKNOWN, "content": "x"})) == "use_rest"
    assert refused(await socket.emit("send-msg")) == "use_rest"
    for event in ["no-such-event", "connected", "new-msg", "__proto__", "on_connect", ""]:
        assert refused(await socket.emit(event, 1)) == "unknown_event", event
    assert refused(await socket.emit("leave-chat", UNKNOWN)) == "not_joined"
    assert refused(await socket.emit("typing", {"chatId": UNKNOWN, "isTyping": True})) == "not_joined"
    assert refused(await socket.emit("join-chat", UNKNOWN)) == "not_found"


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        ("join-chat", ()),
        ("join-chat", (None,)),
        ("join-chat", (7,)),
        ("join-chat", (["x"],)),
        ("join-chat", ({},)),
        ("join-chat", ({"chatId": UNKNOWN, "afterSeq": -1},)),
        ("join-chat", ({"chatId": UNKNOWN, "afterSeq": "1"},)),
        ("join-chat", ({"chatId": UNKNOWN, "afterSeq": 1.5},)),
        ("join-chat", ({"chatId": UNKNOWN, "afterSeq": True},)),
        ("join-chat", ({"chatId": UNKNOWN, "afterSeq": 10**30},)),
        ("join-chat", (UNKNOWN, UNKNOWN)),
        ("leave-chat", ()),
        ("leave-chat", ({"x": 1},)),
        ("typing", (UNKNOWN,)),
        ("typing", ({"chatId": UNKNOWN},)),
        ("typing", ({"chatId": UNKNOWN, "isTyping": "yes"},)),
        ("join-user", (7,)),
        ("join-user", ({"userId": "x"},)),
        ("refresh-token", ()),
        ("refresh-token", ({"token": 7},)),
        ("refresh-token", ("token",)),
    ],
)
async def test_a_payload_that_does_not_fit_is_refused(
    connect: Connect, someone: Person, event: str, payload: tuple[Any, ...]
) -> None:
    """`invalid_payload`, and the socket goes on."""
    socket = await connect(someone)
    assert refused(await socket.emit(event, *payload)) == "invalid_payload"
    assert (await socket.emit("heartbeat"))["ok"]


@each_client
async def test_typing_reaches_the_others(connect: Connect, register: Register) -> None:
    """`typing` goes to the other sockets in the room, with the sender's name, and not back."""
    alice, bob = await register("alice"), await register("bob")
    chat_id = await alice.open_chat(bob)
    writer = await connect(alice, joining=chat_id)
    other_device, reader = await connect(alice, joining=chat_id), await connect(bob, joining=chat_id)
    outside = await connect(bob)
    assert await writer.emit("typing", {"chatId": chat_id, "isTyping": True}) == {"ok": True}
    assert await writer.emit("typing", {"chatId": chat_id, "isTyping": False}) == {"ok": True}
    for socket in (reader, other_device):
        await socket.wait("typing", 2)
        base = {"chatId": chat_id, "userId": alice.id, "name": "Alice"}
        assert socket.bodies("typing") == [{**base, "isTyping": True}, {**base, "isTyping": False}]
    assert writer.bodies("typing") == outside.bodies("typing") == []


@each_client
async def test_presence_follows_the_first_and_the_last_socket(connect: Connect, register: Register) -> None:
    """Online with a user's first joined socket, offline after the last has left; `online` lists them."""
    alice, bob = await register("alice"), await register("bob")
    chat_id = await alice.open_chat(bob)
    watcher = await connect(alice, joining=chat_id)
    phone, laptop = await connect(bob), await connect(bob)
    assert (await phone.emit("join-chat", chat_id))["ok"]
    base = {"chatId": chat_id, "userId": bob.id}
    assert await watcher.wait("presence", where=lambda p: p["userId"] == bob.id) == {**base, "online": True}
    ack = await laptop.emit("join-chat", chat_id)
    assert set(ack["online"]) == {alice.id, bob.id}
    await phone.close()
    assert await laptop.emit("leave-chat", chat_id) == {"ok": True}
    await watcher.wait("presence", where=lambda p: p == {**base, "online": False})
    mine = [p["online"] for p in watcher.bodies("presence") if p["userId"] == bob.id]
    assert mine == [True, False]


async def test_a_socket_may_be_in_so_many_rooms(connect: Connect, register: Register) -> None:
    """`limits.maxRooms` chats; one more is `too_many_rooms`; leaving one makes room for another."""
    alice = await register("alice")
    socket = await connect(alice, kind="python-websocket")
    most = socket.bodies("connected")[0]["limits"]["maxRooms"]
    chats = [await alice.open_chat() for _ in range(most + 1)]
    for chat_id in chats[:-1]:
        assert (await socket.emit("join-chat", chat_id))["ok"]
    assert refused(await socket.emit("join-chat", chats[-1])) == "too_many_rooms"
    assert (await socket.emit("join-chat", chats[0]))["ok"], "joining again takes no room"
    assert (await socket.emit("leave-chat", chats[0]))["ok"]
    assert (await socket.emit("join-chat", chats[-1]))["ok"]
