"""The demo assistant, as a client in the room sees it."""

import asyncio

import pytest
from e2e.replies.streamed_replies import chunks_of, finished, story
from support.client_kinds import Connect, Register, each_client


@each_client
async def test_a_reply_is_streamed_and_then_posted(connect: Connect, register: Register) -> None:
    """Thinking, at least three chunks, the message that they make, and only then completed."""
    alice = await register("alice")
    chat_id = await alice.open_chat(assistant="always")
    socket = await connect(alice, joining=chat_id)
    asked = await alice.say(chat_id, "Tell me about seventeen lighthouses")
    status = await finished(socket, asked)
    reply_id = status["replyId"]
    assert (status["chatId"], status["status"]) == (chat_id, "completed")
    chunks = chunks_of(socket, reply_id)
    assert story(socket, reply_id) == ["thinking", *["chunk"] * len(chunks), "new-msg", "completed"]
    assert len(chunks) >= 3
    assert [chunk["index"] for chunk in chunks] == list(range(len(chunks)))
    assert [chunk["isFinal"] for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert {chunk["chatId"] for chunk in chunks} == {chat_id}
    reply = socket.bodies("new-msg")[-1]
    assert (reply["id"], reply["seq"], reply["role"], reply["userId"]) == (reply_id, 2, "AI", None)
    assert reply["replyTo"] == asked["id"]
    assert reply["content"] == "".join(chunk["content"] for chunk in chunks)
    assert all(word in reply["content"] for word in asked["content"].split())
    assert (await alice.get(f"/api/chat/{chat_id}/messages"))["items"] == [asked, reply]


async def test_a_tool_is_called_for_the_time(connect: Connect, register: Register) -> None:
    """`/time`: `tool_calling` and `tool_completed`, each naming the tool, before the first chunk."""
    alice = await register("alice")
    chat_id = await alice.open_chat(assistant="always")
    socket = await connect(alice, joining=chat_id)
    reply_id = (await finished(socket, await alice.say(chat_id, "what is the /time now")))["replyId"]
    steps = story(socket, reply_id)
    assert steps[:4] == ["thinking", "tool_calling", "tool_completed", "chunk"]
    assert steps[-2:] == ["new-msg", "completed"]
    tools = [s for s in socket.bodies("ai-status") if s["status"].startswith("tool_")]
    assert all(isinstance(status["data"]["tool"], str) and status["data"]["tool"] for status in tools)


async def test_a_failure_is_told_to_the_room(connect: Connect, register: Register) -> None:
    """`/fail`: `failed` with a code, a SYSTEM message, no AI message; the next message is answered."""
    alice = await register("alice")
    chat_id = await alice.open_chat(assistant="always")
    socket = await connect(alice, joining=chat_id)
    status = await finished(socket, await alice.say(chat_id, "please /fail now"))
    assert status["status"] == "failed"
    assert isinstance(status["data"]["code"], str)
    system = await socket.wait("new-msg", where=lambda message: message["role"] == "SYSTEM")
    assert (system["seq"], system["userId"]) == (2, None)
    assert system["content"]
    status = await finished(socket, await alice.say(chat_id, "and now"))
    assert status["status"] == "completed"
    roles = [message["role"] for message in (await alice.get(f"/api/chat/{chat_id}/messages"))["items"]]
    assert roles == ["USER", "SYSTEM", "USER", "AI"]


@pytest.mark.timeout(60)
async def test_a_join_in_the_middle_of_a_reply_completes_it(connect: Connect, register: Register) -> None:
    """`reply.content` and the chunks from `nextIndex` on are the final text, by socket and by REST."""
    alice = await register("alice")
    chat_id = await alice.open_chat(assistant="always")
    first = await connect(alice, joining=chat_id)
    asked = await alice.say(chat_id, "/slow and steady wins")
    started = asyncio.get_running_loop().time()
    await first.wait("ai-chunk", 4)
    late = [await connect(alice), await connect(alice, kind="python-websocket")]
    drafts = [(await socket.emit("join-chat", chat_id))["reply"] for socket in late]
    seen = await alice.get(f"/api/chat/{chat_id}")
    sync = await alice.get(f"/api/chat/{chat_id}/sync?afterSeq=0")
    status = await finished(first, asked)
    assert 5 < asyncio.get_running_loop().time() - started < 20
    reply = await first.wait("new-msg", where=lambda message: message["id"] == status["replyId"])
    assert len(chunks_of(first, reply["id"])) >= 3
    for draft in [*drafts, seen["reply"], sync["reply"]]:
        assert draft["replyId"] == reply["id"]
        assert draft["content"]
        rest = chunks_of(first, reply["id"])[draft["nextIndex"] :]
        assert draft["content"] + "".join(chunk["content"] for chunk in rest) == reply["content"]
    for socket, draft in zip(late, drafts, strict=True):
        await finished(socket, asked)
        own = {c["index"]: c["content"] for c in chunks_of(socket, reply["id"])}
        needed = range(draft["nextIndex"], len(chunks_of(first, reply["id"])))
        assert draft["content"] + "".join(own[index] for index in needed) == reply["content"]
        assert socket.bodies("new-msg") == [reply]
    assert (await alice.get(f"/api/chat/{chat_id}"))["reply"] is None


async def test_every_message_gets_one_reply_one_at_a_time(connect: Connect, register: Register) -> None:
    """Three messages at once: three replies, each to its own, never two being written together."""
    alice = await register("alice")
    chat_id = await alice.open_chat(assistant="always")
    socket = await connect(alice, joining=chat_id)
    asked = await alice.say_at_once(chat_id, ["apples", "bananas", "cherries"])
    for message in asked:
        assert (await finished(socket, message))["status"] == "completed"
    order = [body["replyId"] for body in socket.bodies("ai-chunk")]
    runs = [reply_id for at, reply_id in enumerate(order) if at == 0 or order[at - 1] != reply_id]
    assert len(runs) == len(set(runs)) == 3
    answers = {m["replyTo"]: m["content"] for m in socket.bodies("new-msg") if m["role"] == "AI"}
    assert all(message["content"] in answers[message["id"]] for message in asked)


async def test_who_is_answered(connect: Connect, register: Register) -> None:
    """Alone: always. With others: when mentioned, in any case. Later members change nothing; `off`: never."""
    alice, bob = await register("alice"), await register("bob")
    solo = (await alice.call("POST", "/api/chat", {"title": "Solo"})).expect(201)
    fields = {"title": "Group", "memberIds": [bob.id]}
    group = (await alice.call("POST", "/api/chat", fields)).expect(201)
    assert (solo["assistant"], group["assistant"]) == ("always", "mention")
    socket = await connect(alice, joining=solo["id"])
    assert (await socket.emit("join-chat", group["id"]))["ok"]
    silent = await alice.say(group["id"], "nobody asked you, assistant")
    partial = await alice.say(group["id"], "nor you, x@assistants")
    called = await bob.say(group["id"], "what do you say, @Assistant?")
    await finished(socket, called)
    (await alice.call("POST", f"/api/chat/{solo['id']}/members", {"userId": bob.id})).expect(201)
    await finished(socket, await bob.say(solo["id"], "hello there"))
    (await alice.call("PATCH", f"/api/chat/{solo['id']}", {"assistant": "off"})).expect(200)
    unanswered = await alice.say(solo["id"], "still there")
    answered = {status["replyTo"] for status in socket.bodies("ai-status")}
    assert not answered & {silent["id"], partial["id"], unanswered["id"]}
