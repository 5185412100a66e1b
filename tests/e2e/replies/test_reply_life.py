"""Replies over two workers and two gateways: cancelled, resumed, and finished when a worker dies."""

import asyncio
import random
import re
import statistics
import time
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, Final

import pytest
from e2e.replies.streamed_replies import cancel, chunks_of, finished, last_attempt, like, opened, text_of
from support.client_kinds import NewClient
from support.clients import SocketClient
from support.rest import Person
from support.stack import Services

CANCELS: Final = 24
JOINS: Final = 200


async def test_a_cancel_takes_effect_within_200_ms(
    cluster: Services, alice: Person, new_client: NewClient
) -> None:
    """From the call to `ai-status cancelled` in the room; exactly the chunks are kept, whichever worker."""
    chats = [await alice.open_chat(assistant="always") for _ in range(CANCELS)]
    socket = await opened(new_client, alice, cluster.gateways[1], *chats)
    asked = {chat_id: await alice.say(chat_id, "/slow and steady wins the race") for chat_id in chats}
    took = []
    for chat_id in chats:
        chunk = await socket.wait("ai-chunk", 2, where=like(chatId=chat_id))
        started = time.perf_counter()
        assert await cancel(alice, chat_id, chunk["replyId"]) == 202
        status = await finished(socket, asked[chat_id])
        took.append(time.perf_counter() - started)
        reply = socket.bodies("new-msg")[-1]
        assert (status["status"], reply["id"], reply["metadata"]["cancelled"]) == (
            "cancelled",
            chunk["replyId"],
            True,
        )
        assert reply["content"] == text_of(last_attempt(chunks_of(socket, reply["id"])))
    for worker in cluster.workers:
        assert await worker.metric("roomcast_worker_replies_total", outcome="cancelled") > 0
    print(f"\ncancel: median {statistics.median(took) * 1000:.0f} ms, worst {max(took) * 1000:.0f} ms")  # noqa: T201
    assert statistics.median(took) < 0.2


async def test_the_first_token_is_soon_in_the_room(
    cluster: Services, alice: Person, new_client: NewClient
) -> None:
    """The demo tells when it had its first word; two statuses of the tool go before it."""
    chat_id = await alice.open_chat(assistant="always")
    socket = await opened(new_client, alice, cluster.gateways[1], chat_id)
    took = []
    for number in range(20):
        asked = await alice.say(chat_id, "what is the /time")
        chunk = await socket.wait("ai-chunk", number + 1, where=like(index=0))
        arrived = time.time()
        await finished(socket, asked)
        reply = await socket.wait("new-msg", where=like(id=chunk["replyId"]))
        told = re.search(r"The time is (\S+Z)\.", reply["content"])
        assert told is not None
        took.append(arrived - datetime.fromisoformat(told[1]).timestamp())
    print(f"\nfirst token: median {statistics.median(took) * 1000:.0f} ms, worst {max(took) * 1000:.0f} ms")  # noqa: T201
    assert statistics.median(took) < 0.25


@pytest.mark.timeout(120)
async def test_a_join_at_any_moment_gets_exactly_the_rest(
    cluster: Services, alice: Person, new_client: NewClient
) -> None:
    """200 joins at random moments of replies, on both gateways: what is told and what follows is the text."""
    chats = [await alice.open_chat(assistant="always") for _ in range(10)]
    first = await opened(new_client, alice, cluster.gateways[0], *chats)
    asked = {chat_id: await alice.say(chat_id, "/slow and steady wins the race") for chat_id in chats}
    dice = random.Random(7)

    async def join(number: int) -> tuple[str, Any, SocketClient]:
        await asyncio.sleep(dice.uniform(0.0, 10.5))
        chat_id = chats[number % len(chats)]
        kind = "js-websocket" if number % 10 == 0 else "python-websocket"
        socket = await opened(new_client, alice, cluster.gateways[number % 2], kind=kind)
        return chat_id, await socket.emit("join-chat", {"chatId": chat_id, "afterSeq": 1}), socket

    joined = await asyncio.gather(*(join(number) for number in range(JOINS)))
    for message in asked.values():
        assert (await finished(first, message))["status"] == "completed"
    middle = 0
    for chat_id, ack, socket in joined:
        (whole,) = [m for m in first.bodies("new-msg") if m["chatId"] == chat_id and m["role"] == "AI"]
        if ack["missed"]:
            assert ack["missed"] == [whole]
            continue
        assert (await socket.wait("new-msg", where=like(id=whole["id"]))) == whole
        own = {c["index"]: c["content"] for c in chunks_of(socket, whole["id"])}
        if ack["reply"] is None and not own:
            continue  # it was about to end, or yet to begin: the message alone is all there is
        draft = ack["reply"] or {"content": "", "nextIndex": 0}
        middle += draft["nextIndex"] > 0
        rest = [own[index] for index in range(draft["nextIndex"], max(own, default=-1) + 1)]
        assert draft["content"] + "".join(rest) == whole["content"], draft
    assert middle > JOINS / 2


@pytest.mark.timeout(120)
async def test_a_stream_goes_on_after_the_gateway_died(
    cluster: Services, alice: Person, new_client: NewClient
) -> None:
    """The client comes back at another gateway, in the middle of the reply, and has all of it."""
    doomed = await cluster.add("gateway")
    chat_id = await alice.open_chat(assistant="always")
    socket = await opened(new_client, alice, doomed, chat_id)
    asked = await alice.say(chat_id, "/slow and steady")
    await socket.wait("ai-chunk", 3)
    doomed.process.kill()
    cluster.gateways.remove(doomed)
    await socket.wait_disconnected()
    again = await opened(new_client, alice, cluster.gateways[0])
    draft = (await again.emit("join-chat", {"chatId": chat_id, "afterSeq": asked["seq"]}))["reply"]
    assert draft["content"].startswith(text_of(last_attempt(socket.bodies("ai-chunk"))))
    await again.wait("ai-chunk", 4)
    assert await cancel(alice, chat_id, draft["replyId"]) == 202
    await finished(again, asked)
    own = last_attempt(again.bodies("ai-chunk"))
    rest = [own[index] for index in range(draft["nextIndex"], max(own) + 1)]
    assert draft["content"] + "".join(rest) == again.bodies("new-msg")[-1]["content"]


async def test_a_slow_chat_holds_up_nobody(cluster: Services, alice: Person, new_client: NewClient) -> None:
    """While one chat's reply is being written, another chat's is there at once; its own next one waits."""
    slow, quick = [await alice.open_chat(assistant="always") for _ in range(2)]
    socket = await opened(new_client, alice, cluster.gateways[0], slow, quick)
    first = await alice.say(slow, "/slow and steady")
    second = await alice.say(slow, "and this")
    started = time.perf_counter()
    assert (await finished(socket, await alice.say(quick, "hello")))["status"] == "completed"
    assert time.perf_counter() - started < 5
    assert not [s for s in socket.bodies("ai-status") if s["replyTo"] == second["id"]]
    writing = await socket.wait("ai-chunk", where=like(chatId=slow))
    assert await cancel(alice, slow, writing["replyId"]) == 202
    await finished(socket, second)
    ends = [(s["replyTo"], s["status"]) for s in socket.bodies("ai-status") if s["chatId"] == slow]
    over = [end for end in ends if end[1] in {"completed", "cancelled"}]
    assert over == [(first["id"], "cancelled"), (second["id"], "completed")]


@pytest.mark.timeout(180)
async def test_of_a_hundred_replies_each_is_finished_once_though_a_worker_is_killed(
    cluster: Services, alice: Person, new_client: NewClient
) -> None:
    """Its half begins anew as attempt 2, for all to see; no reply is lost, none comes twice."""
    chats = [await alice.open_chat(assistant="always") for _ in range(100)]
    doomed = cluster.workers[1]
    sockets = [
        await opened(new_client, alice, cluster.gateways[n % 2], *chats[n::4], kind=kind)
        for n, kind in enumerate(["js-websocket", "python-websocket", "python-websocket", "js-websocket"])
    ]
    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(asyncio.TaskGroup())
        posts = [group.create_task(alice.say(chat_id, "/slow and steady")) for chat_id in chats]
    asked = [post.result() for post in posts]
    for number in range(100):
        await sockets[number % 4].wait("ai-chunk", where=like(chatId=chats[number]), seconds=20)
    doomed.process.kill()
    cluster.workers.remove(doomed)
    again = 0
    for number, message in enumerate(asked):
        socket = sockets[number % 4]
        status = await socket.wait(
            "ai-status", where=like(replyTo=message["id"], status="completed"), seconds=60
        )
        (reply,) = [m for m in socket.bodies("new-msg") if m["chatId"] == chats[number] and m["role"] == "AI"]
        assert (reply["id"], reply["replyTo"]) == (status["replyId"], message["id"])
        chunks = last_attempt(chunks_of(socket, reply["id"]))
        assert text_of(chunks) == reply["content"]
        again += status.get("attempt", 1) > 1
    assert 20 < again < 80
    for number, chat_id in enumerate(chats):
        roles = [m["role"] for m in (await alice.get(f"/api/chat/{chat_id}/messages"))["items"]]
        assert roles == ["USER", "AI"], number
    await cluster.add("worker")


@pytest.mark.timeout(120)
async def test_a_reply_whose_worker_has_died_can_be_cancelled(
    cluster: Services, alice: Person, new_client: NewClient
) -> None:
    """The chunks that it sent are kept, whether or not another worker is there to take the request."""
    chat_id = await alice.open_chat(assistant="always")
    socket = await opened(new_client, alice, cluster.gateways[0], chat_id)
    asked = await alice.say(chat_id, "/slow and steady")
    chunk = await socket.wait("ai-chunk", 3)
    # The one that writes it last, so that the other does not begin it anew.
    writing = [await worker.metric("roomcast_worker_replies_in_progress") for worker in cluster.workers]
    assert sorted(writing) == [0, 1]
    for worker in sorted(cluster.workers, key=lambda worker: writing[cluster.workers.index(worker)]):
        worker.process.kill()
    cluster.workers.clear()
    started = time.perf_counter()
    assert await cancel(alice, chat_id, chunk["replyId"]) == 202
    assert (await finished(socket, asked))["status"] == "cancelled"
    print(f"\ncancel without a worker: {time.perf_counter() - started:.1f} s")  # noqa: T201
    reply = socket.bodies("new-msg")[-1]
    assert reply["content"] == text_of(last_attempt(chunks_of(socket, reply["id"])))
    await asyncio.gather(cluster.add("worker"), cluster.add("worker"))
    asked = await alice.say(chat_id, "are you there")
    assert (await finished(socket, asked))["status"] == "completed"
    assert [m["role"] for m in socket.bodies("new-msg")] == ["USER", "AI", "USER", "AI"]


@pytest.mark.matrix
@pytest.mark.timeout(300)
async def test_a_request_that_kills_its_workers_is_given_up_and_the_chat_goes_on(
    cluster: Services, alice: Person, new_client: NewClient
) -> None:
    """Five attempts, each numbered; then `failed`, a SYSTEM message, and the next message is answered."""
    for worker in list(cluster.workers):
        await cluster.remove(worker)
    chat_id = await alice.open_chat(assistant="always")
    socket = await opened(new_client, alice, cluster.gateways[0], chat_id)
    asked = await alice.say(chat_id, "/slow and steady")
    for attempt in range(1, 6):
        worker = await cluster.add("worker")
        await socket.wait(
            "ai-chunk", where=like(index=0, **({"attempt": attempt} if attempt > 1 else {})), seconds=20
        )
        worker.process.kill()
        cluster.workers.remove(worker)
    status = await finished(socket, asked)
    assert (status["status"], status["data"]) == ("failed", {"code": "worker_lost"})
    await cluster.add("worker")
    assert (await finished(socket, await alice.say(chat_id, "and now")))["status"] == "completed"
    assert [m["role"] for m in socket.bodies("new-msg")] == ["USER", "SYSTEM", "USER", "AI"]
