"""Members come and go; their sockets with them."""

from support.client_kinds import Connect, Register, each_client, settled


@each_client
async def test_a_new_member_is_announced_and_can_join(connect: Connect, register: Register) -> None:
    """`member-added` reaches room and member; the member gets `chat-created` and may join."""
    alice, bob = await register("alice"), await register("bob")
    chat_id = await alice.open_chat()
    await alice.say(chat_id, "before bob")
    room, newcomer = await connect(alice, joining=chat_id), await connect(bob)
    added = await alice.call("POST", f"/api/chat/{chat_id}/members", {"userId": bob.id})
    member = added.expect(201)
    assert member == {
        "userId": bob.id,
        "displayName": "Bob",
        "role": "member",
        "joinedAt": member["joinedAt"],
    }
    assert await room.wait("member-added") == {**member, "chatId": chat_id}
    assert await newcomer.wait("member-added") == {**member, "chatId": chat_id}
    chat = await newcomer.wait("chat-created")
    assert (chat["id"], chat["lastSeq"], chat["lastMessage"]["content"]) == (chat_id, 1, "before bob")
    ack = await newcomer.emit("join-chat", {"chatId": chat_id, "afterSeq": 0})
    assert [message["content"] for message in ack["missed"]] == ["before bob"]
    again = await alice.call("POST", f"/api/chat/{chat_id}/members", {"userId": bob.id})
    assert again.expect(200) == member


@each_client
async def test_nothing_posted_after_the_removal_reaches_the_removed(
    connect: Connect, register: Register
) -> None:
    """From the 204 on, a removed member's joined sockets get no message and no activity."""
    alice, bob = await register("alice"), await register("bob")
    chat_id = await alice.open_chat(bob)
    room, socket = await connect(alice, joining=chat_id), await connect(bob, joining=chat_id)
    await alice.say(chat_id, "for both")
    (await alice.call("DELETE", f"/api/chat/{chat_id}/members/{bob.id}")).expect(204)
    await alice.say_at_once(chat_id, [f"secret {number}" for number in range(20)])
    await settled(bob, socket)
    assert [message["content"] for message in socket.bodies("new-msg")] == ["for both"]
    assert socket.bodies("chat-activity")[-1]["lastSeq"] == 1
    for told in (await socket.wait("member-removed"), await room.wait("member-removed")):
        assert (told["chatId"], told["userId"]) == (chat_id, bob.id)
    assert (await socket.emit("join-chat", chat_id))["error"]["code"] == "not_found"
    assert (await bob.call("GET", f"/api/chat/{chat_id}")).status == 404


async def test_a_member_may_leave_the_owner_may_not(connect: Connect, register: Register) -> None:
    """Oneself: 204; the owner oneself: 422 `owner_cannot_leave`; a member another: 403."""
    alice, bob, carol = await register("alice"), await register("bob"), await register("carol")
    chat_id = await alice.open_chat(bob, carol)
    members = f"/api/chat/{chat_id}/members"
    refused = await bob.call("DELETE", f"{members}/{carol.id}")
    assert (refused.status, refused.code) == (403, "forbidden")
    refused = await bob.call("POST", members, {"userId": carol.id})
    assert (refused.status, refused.code) == (403, "forbidden")
    refused = await alice.call("DELETE", f"{members}/{alice.id}")
    assert (refused.status, refused.code) == (422, "owner_cannot_leave")
    (await bob.call("DELETE", f"{members}/{bob.id}")).expect(204)
    chat = await alice.get(f"/api/chat/{chat_id}")
    assert {member["userId"] for member in chat["members"]} == {alice.id, carol.id}


async def test_a_member_who_returns_hears_again(connect: Connect, register: Register) -> None:
    """Removal is no ban: added again, a member joins again and gets messages again."""
    alice, bob = await register("alice"), await register("bob")
    chat_id = await alice.open_chat(bob)
    socket = await connect(bob, joining=chat_id)
    (await alice.call("DELETE", f"/api/chat/{chat_id}/members/{bob.id}")).expect(204)
    (await alice.call("POST", f"/api/chat/{chat_id}/members", {"userId": bob.id})).expect(201)
    await socket.wait("member-added")
    ack = await socket.emit("join-chat", chat_id)
    assert ack["ok"], ack
    posted = await alice.say(chat_id, "welcome back")
    assert await socket.wait("new-msg") == posted
