"""Cancelling a reply and asking for it again, as clients in the room see it."""

import asyncio

from e2e.replies.streamed_replies import being_written, cancel, chunks_of, finished, message_of, story
from support.client_kinds import Connect, Register, each_client


@each_client
async def test_a_cancelled_reply_is_kept_as_far_as_it_was_sent(connect: Connect, register: Register) -> None:
    """Exactly the chunks, `metadata.cancelled`, first `new-msg` and then `cancelled`; the chat goes on."""
    alice = await register("alice")
    chat_id = await alice.open_chat(assistant="always")
    socket = await connect(alice, joining=chat_id)
    asked = await alice.say(chat_id, "/slow and steady wins the race")
    reply_id = await being_written(socket, 3)
    assert await cancel(alice, chat_id, reply_id) == 202
    status = await finished(socket, asked)
    reply = await message_of(socket, reply_id)
    assert (status["replyId"], status["status"]) == (reply_id, "cancelled")
    assert (reply["role"], reply["replyTo"], reply["metadata"]["cancelled"]) == ("AI", asked["id"], True)
    assert reply["content"] == "".join(chunk["content"] for chunk in chunks_of(socket, reply_id))
    assert len(chunks_of(socket, reply_id)) >= 3
    assert story(socket, reply_id)[-2:] == ["new-msg", "cancelled"]
    assert (await alice.get(f"/api/chat/{chat_id}"))["reply"] is None
    next_one = await finished(socket, await alice.say(chat_id, "and now"))
    assert next_one["status"] == "completed"
    assert story(socket, reply_id)[-2:] == ["new-msg", "cancelled"]


async def test_any_member_may_cancel_and_all_at_once(connect: Connect, register: Register) -> None:
    """Two members, several times: 202 each, one message; afterwards still 202."""
    alice, bob = await register("alice"), await register("bob")
    chat_id = await alice.open_chat(bob, assistant="always")
    socket = await connect(bob, joining=chat_id)
    asked = await alice.say(chat_id, "/slow and steady")
    reply_id = await being_written(socket)
    both = [cancel(person, chat_id, reply_id) for person in (alice, bob, alice, bob)]
    assert await asyncio.gather(*both) == [202] * 4
    assert (await finished(socket, asked))["status"] == "cancelled"
    assert await cancel(bob, chat_id, reply_id) == 202
    roles = [message["role"] for message in (await alice.get(f"/api/chat/{chat_id}/messages"))["items"]]
    assert roles == ["USER", "AI"]


async def test_a_reply_that_waits_for_its_turn_can_be_cancelled(connect: Connect, register: Register) -> None:
    """Its message is empty; the one that is being written goes on undisturbed."""
    alice = await register("alice")
    chat_id = await alice.open_chat(assistant="always")
    socket = await connect(alice, joining=chat_id)
    done = (await finished(socket, await alice.say(chat_id, "hello")))["replyId"]
    slow = await alice.say(chat_id, "/slow one")
    slow_id = (await socket.wait("ai-status", where=lambda s: s["replyTo"] == slow["id"]))["replyId"]
    again = await alice.call("POST", f"/api/chat/{chat_id}/messages/{done}/regenerate")
    waiting = again.expect(202)["replyId"]
    assert await cancel(alice, chat_id, waiting) == 202
    reply = await message_of(socket, waiting)
    assert (reply["content"], reply["metadata"]) == ("", {"cancelled": True, "regenerates": done})
    await socket.wait("ai-status", where=lambda s: (s["replyId"], s["status"]) == (waiting, "cancelled"))
    assert story(socket, waiting) == ["new-msg", "cancelled"]
    await socket.wait("ai-chunk", 3, where=lambda chunk: chunk["replyId"] == slow_id)
    assert await cancel(alice, chat_id, slow_id) == 202
    assert (await finished(socket, slow))["status"] == "cancelled"


async def test_what_cannot_be_cancelled_says_why(connect: Connect, register: Register) -> None:
    """Finished: 409; unknown, in another chat, or not a member's: 404."""
    alice, mallory = await register("alice"), await register("mallory")
    chat_id = await alice.open_chat(assistant="always")
    other = await alice.open_chat()
    socket = await connect(alice, joining=chat_id)
    done = await finished(socket, await alice.say(chat_id, "hello"))
    path = f"/api/chat/{chat_id}/replies/{done['replyId']}/cancel"
    assert (await alice.call("POST", path)).code == "reply_finished"
    assert (await alice.call("POST", path)).status == 409
    assert await cancel(alice, chat_id, chat_id) == 404
    assert await cancel(alice, chat_id, "nonsense") == 404
    assert await cancel(alice, other, done["replyId"]) == 404
    assert await cancel(mallory, chat_id, done["replyId"]) == 404


async def test_another_version_is_a_reply_that_names_the_earlier_one(
    connect: Connect, register: Register
) -> None:
    """The AI message stays; the new one answers the same message."""
    alice = await register("alice")
    chat_id = await alice.open_chat(assistant="always")
    socket = await connect(alice, joining=chat_id)
    asked = await alice.say(chat_id, "tell me about lighthouses")
    first = (await finished(socket, asked))["replyId"]
    path = f"/api/chat/{chat_id}/messages/{first}/regenerate"
    twice = [(await alice.call("POST", path)).expect(202) for _ in range(2)]
    again = twice[0]["replyId"]
    assert twice == [{"replyId": again}] * 2
    reply = await message_of(socket, again)
    await socket.wait("ai-status", where=lambda s: (s["replyId"], s["status"]) == (again, "completed"))
    assert reply["metadata"]["regenerates"] == first
    assert reply["replyTo"] == asked["id"]
    assert reply["content"] == "".join(chunk["content"] for chunk in chunks_of(socket, again))
    ids = [message["id"] for message in (await alice.get(f"/api/chat/{chat_id}/messages"))["items"]]
    assert ids == [asked["id"], first, again]
    for wrong, code in ((asked["id"], "not_a_reply"), (chat_id, "not_found")):
        refused = await alice.call("POST", f"/api/chat/{chat_id}/messages/{wrong}/regenerate")
        assert refused.code == code
