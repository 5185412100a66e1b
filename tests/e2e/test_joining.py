"""Joining: late, again, and while messages pour in."""

import asyncio
import itertools
from typing import Any

import pytest
from clients import Ack, SocketClient
from ground import Connect, Register, each_client
from rest import Person

RATE = 200
JOINS = 20
KINDS = ["js-websocket", "python-websocket", "js-polling", "js-upgrade", "python-polling"]


@each_client
async def test_a_late_joiner_gets_what_was_missed(connect: Connect, register: Register) -> None:
    """`missed` holds exactly what came after `afterSeq`, oldest first."""
    alice, bob = await register("alice"), await register("bob")
    chat_id = await alice.open_chat(bob)
    posted = await alice.say_all(chat_id, ["one", "two", "three"])
    socket = await connect(bob)
    ack = await socket.emit("join-chat", {"chatId": chat_id, "afterSeq": 1})
    assert ack == {
        "ok": True,
        "chatId": chat_id,
        "lastSeq": 3,
        "missed": posted[1:],
        "hasMore": False,
        "reply": None,
        "online": ack["online"],
    }
    assert bob.id in ack["online"]
    assert socket.bodies("new-msg") == []
    posted = await alice.say(chat_id, "four")
    assert await socket.wait("new-msg") == posted


async def test_joining_without_after_seq_misses_nothing(connect: Connect, register: Register) -> None:
    """By id alone: `lastSeq`, and an empty `missed`."""
    alice = await register("alice")
    chat_id = await alice.open_chat()
    await alice.say(chat_id, "one")
    socket = await connect(alice)
    ack = await socket.emit("join-chat", chat_id)
    assert (ack["lastSeq"], ack["missed"], ack["hasMore"]) == (1, [], False)
    assert (await socket.emit("join-chat", {"chatId": chat_id}))["missed"] == []


async def test_more_than_a_page_is_fetched_by_joining_again(connect: Connect, register: Register) -> None:
    """At most 200 come at once; `hasMore` says that another call is due, and nothing is skipped."""
    alice = await register("alice")
    chat_id = await alice.open_chat()
    await alice.say_at_once(chat_id, [str(number) for number in range(450)])
    socket = await connect(alice)
    seqs: list[int] = []
    ack: Ack = {"hasMore": True}
    while ack["hasMore"]:
        ack = await socket.emit("join-chat", {"chatId": chat_id, "afterSeq": seqs[-1] if seqs else 0})
        seqs += [message["seq"] for message in ack["missed"]]
    assert seqs == list(range(1, 451))
    assert ack["lastSeq"] == 450


async def test_sync_answers_what_joining_answers(connect: Connect, register: Register) -> None:
    """`GET …/sync` is the acknowledgement over REST."""
    alice = await register("alice")
    chat_id = await alice.open_chat()
    await alice.say_all(chat_id, ["one", "two"])
    socket = await connect(alice)
    ack = await socket.emit("join-chat", {"chatId": chat_id, "afterSeq": 1})
    sync = await alice.get(f"/api/chat/{chat_id}/sync?afterSeq=1")
    ack.pop("ok")
    assert {name: sync[name] for name in ack} == ack


@pytest.mark.timeout(90)
async def test_a_join_in_a_stream_of_messages_has_no_hole(connect: Connect, register: Register) -> None:
    """200 messages a second; 20 joins; each has every message once after dropping known ids, in order."""
    alice = await register("alice")
    chat_id = await alice.open_chat()
    posting = asyncio.create_task(_pour(alice, chat_id))
    joined: list[tuple[int, SocketClient, Any]] = []
    try:
        for kind in itertools.islice(itertools.cycle(KINDS), JOINS):
            socket = await connect(alice, kind=kind)
            after = (await alice.get(f"/api/chat/{chat_id}"))["lastSeq"]
            ack = await socket.emit("join-chat", {"chatId": chat_id, "afterSeq": max(0, after - 5)})
            assert ack["ok"], ack
            joined.append((max(0, after - 5), socket, ack))
    finally:
        posting.cancel()
        last = await posting
    assert last >= JOINS, "nothing was posted meanwhile"
    for after, socket, ack in joined:
        await socket.wait("new-msg", where=lambda message: message["seq"] == last, seconds=20)
        _check(socket, ack, after, last)


async def _pour(person: Person, chat_id: str) -> int:
    """Posts `RATE` messages a second until cancelled; the last `seq`."""
    posts: list[asyncio.Task[Any]] = []
    try:
        start = asyncio.get_running_loop().time()
        for number in itertools.count():
            posts.append(asyncio.create_task(person.say(chat_id, f"message {number}")))
            await asyncio.sleep(start + (number + 1) / RATE - asyncio.get_running_loop().time())
    except asyncio.CancelledError:
        return max(int(message["seq"]) for message in await asyncio.gather(*posts))
    raise AssertionError


def _check(socket: SocketClient, ack: Any, after: int, last: int) -> None:
    live = socket.bodies("new-msg")
    assert not ack["hasMore"]
    assert [message["seq"] for message in ack["missed"]] == list(range(after + 1, ack["lastSeq"] + 1))
    assert [message["seq"] for message in live] == sorted(message["seq"] for message in live)
    # What is not above `lastSeq` is known already, by `missed` or before `afterSeq`; it may be repeated.
    fresh = [message["seq"] for message in live if message["seq"] > ack["lastSeq"]]
    assert fresh == list(range(ack["lastSeq"] + 1, last + 1))
