"""Posting: numbers, keys, and many at once."""

import asyncio

from support.client_kinds import Connect, Register
from support.clients import SocketClient
from support.rest import Api
from support.stack import Stack


async def test_fifty_at_once_are_numbered_without_a_hole(connect: Connect, register: Register) -> None:
    """`seq` 1..50, each once, and broadcast in that order."""
    alice, bob = await register("alice"), await register("bob")
    chat_id = await alice.open_chat(bob)
    socket = await connect(bob, joining=chat_id)
    halves = await asyncio.gather(
        alice.say_at_once(chat_id, [f"a{number}" for number in range(25)]),
        bob.say_at_once(chat_id, [f"b{number}" for number in range(25)]),
    )
    posted = sorted([*halves[0], *halves[1]], key=lambda message: message["seq"])
    assert [message["seq"] for message in posted] == list(range(1, 51))
    await socket.wait("new-msg", 50)
    assert socket.bodies("new-msg") == posted
    assert (await alice.get(f"/api/chat/{chat_id}/messages"))["items"] == posted


async def test_one_key_makes_one_message(connect: Connect, register: Register) -> None:
    """Twenty posts at the same time with one key: one 201, nineteen 200, the same message, once."""
    alice = await register("alice")
    chat_id = await alice.open_chat()
    socket = await connect(alice, joining=chat_id)
    answers = await asyncio.gather(*(alice.post(chat_id, "once", key="k") for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [200] * 19 + [201]
    for answer in answers:
        replayed = answer.headers.get("idempotency-replayed")
        assert replayed == ("true" if answer.status == 200 else None)
    assert len({answer.raw for answer in answers}) == 1
    after = await alice.say(chat_id, "after", key="another")
    assert after["seq"] == 2
    await socket.wait("new-msg", where=lambda message: message["seq"] == 2)
    assert [message["content"] for message in socket.bodies("new-msg")] == ["once", "after"]


async def test_a_key_belongs_to_a_body_and_a_user(register: Register) -> None:
    """Another body: 422. The same by value: a replay. Another user: a message of one's own."""
    alice, bob = await register("alice"), await register("bob")
    chat_id = await alice.open_chat(bob)
    first = await alice.say(chat_id, "one", key="k", metadata={"a": 1, "b": [True, None]})
    again = await alice.post(chat_id, "one", key="k", metadata={"b": [True, None], "a": 1})
    assert again.expect(200) == first
    changed = await alice.post(chat_id, "two", key="k", metadata={"a": 1, "b": [True, None]})
    assert (changed.status, changed.code) == (422, "idempotency_mismatch")
    assert (await bob.say(chat_id, "one", key="k"))["userId"] == bob.id
    for bad in ("", "x" * 201):
        assert (await alice.post(chat_id, "one", key=bad)).status == 422, bad
    assert (await alice.post(chat_id, "long key", key="x" * 200)).status == 201


async def test_a_refused_post_does_not_use_its_key(register: Register) -> None:
    """After a refusal the same key serves the corrected message."""
    alice, bob = await register("alice"), await register("bob")
    chat_id, foreign = await alice.open_chat(), await bob.open_chat()
    assert (await alice.post(foreign, "x", key="k")).status == 404
    assert (await alice.post(chat_id, "", key="k")).status == 422
    refused = await alice.post(chat_id, "x", key="k", replyTo=foreign)
    assert (refused.status, refused.code) == (422, "reply_not_found")
    (await alice.post(chat_id, "x", key="k")).expect(201)


async def test_a_replay_shows_the_message_as_first_answered(register: Register) -> None:
    """A replay does not show what happened to the message since."""
    alice = await register("alice")
    chat_id = await alice.open_chat()
    first = await alice.say(chat_id, "as posted", key="k")
    path = f"/api/chat/{chat_id}/messages/{first['id']}"
    (await alice.call("PATCH", path, {"content": "as edited"})).expect(200)
    assert (await alice.post(chat_id, "as posted", key="k")).expect(200) == first
    (await alice.call("DELETE", path)).expect(204)
    assert (await alice.post(chat_id, "as posted", key="k")).expect(200) == first


async def test_a_burst_over_many_chats_reaches_each(
    stack: Stack, api: Api, connect: Connect, register: Register
) -> None:
    """Ten chats, twenty messages each, all at the same time: every room has its own, in order."""
    alice = await register("alice")
    chats = await asyncio.gather(*(alice.open_chat(title=f"Chat {number}") for number in range(10)))
    sockets: list[SocketClient] = [await connect(alice, joining=chat_id) for chat_id in chats]
    await asyncio.gather(*(alice.say_at_once(chat_id, ["x"] * 20) for chat_id in chats))
    for socket, chat_id in zip(sockets, chats, strict=True):
        await socket.wait("new-msg", 20)
        seen = [(message["chatId"], message["seq"]) for message in socket.bodies("new-msg")]
        assert seen == [(chat_id, seq) for seq in range(1, 21)]


async def test_content_of_every_kind_survives(connect: Connect, register: Register) -> None:
    """Any text but NUL and lone surrogates comes out as it went in, to its last character."""
    alice = await register("alice")
    chat_id = await alice.open_chat()
    socket = await connect(alice, joining=chat_id)
    contents = [
        "é 漢字 👩‍👩‍👧 \u202e rtl",
        '"quotes" \\ \b \u2028 </script>',
        " \n\t ",
        "x" * 32_000,
        "👍" * 32_000,
        '42["new-msg",{}]',
        "\x1e\x7f\ufeff\uffff",
    ]
    posted = await alice.say_all(chat_id, contents)
    assert [message["content"] for message in posted] == contents
    await socket.wait("new-msg", len(contents))
    assert socket.bodies("new-msg") == posted
    assert (await alice.get(f"/api/chat/{chat_id}/messages"))["items"] == posted
