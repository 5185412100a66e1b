"""Joining: late, again, and while messages pour in."""

import asyncio
import itertools
from typing import Any

import pytest
from support.client_kinds import Connect, Register, each_client
from support.clients import Ack, SocketClient
from support.rest import Person

RATE = 200
JOINS = 20
LISTENED = 100
"""How many messages each hears after its join."""
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
    pouring = asyncio.create_task(_pour(alice, chat_id))
    seats = asyncio.Semaphore(len(KINDS))

    async def listen(kind: str) -> None:
        async with seats:
            socket = await connect(alice, kind=kind)
            after = max(0, (await alice.get(f"/api/chat/{chat_id}"))["lastSeq"] - 5)
            ack = await socket.emit("join-chat", {"chatId": chat_id, "afterSeq": after})
            assert ack["ok"], ack
            heard = ack["lastSeq"] + LISTENED
            await socket.wait("new-msg", where=lambda message: message["seq"] >= heard, seconds=60)
            await socket.close()
            _check(socket, ack, after)

    try:
        async with asyncio.TaskGroup() as joins:
            for kind in itertools.islice(itertools.cycle(KINDS), JOINS):
                joins.create_task(listen(kind))
    finally:
        pouring.cancel()
        await pouring


async def _pour(person: Person, chat_id: str) -> None:
    """Posts `RATE` messages a second until cancelled, less where they are not taken as fast."""
    loop = asyncio.get_running_loop()
    seats = asyncio.Semaphore(RATE // 4)
    posts: set[asyncio.Task[Any]] = set()
    try:
        start = loop.time()
        for number in itertools.count():
            await seats.acquire()
            post = asyncio.create_task(person.say(chat_id, f"message {number}"))
            posts.add(post)
            post.add_done_callback(lambda _: seats.release())
            await asyncio.sleep(start + (number + 1) / RATE - loop.time())
    except asyncio.CancelledError:
        await asyncio.gather(*posts)


def _check(socket: SocketClient, ack: Any, after: int) -> None:
    assert not ack["hasMore"]
    assert [message["seq"] for message in ack["missed"]] == list(range(after + 1, ack["lastSeq"] + 1))
    live = [message["seq"] for message in socket.bodies("new-msg")]
    assert live == sorted(live)
    # What is not above `lastSeq` is known already, by `missed` or before `afterSeq`; it may be repeated.
    fresh = [seq for seq in live if seq > ack["lastSeq"]]
    assert len(fresh) >= LISTENED
    assert fresh == list(range(ack["lastSeq"] + 1, ack["lastSeq"] + 1 + len(fresh)))
