"""Rooms: who gets what, in which order."""

from support.client_kinds import Connect, Register, each_client, settled


@each_client
async def test_members_in_the_room_get_each_message_once_in_order(
    connect: Connect, register: Register
) -> None:
    """Two members who joined get every `new-msg`, exactly as the POST answered it."""
    alice, bob = await register("alice"), await register("bob")
    chat_id = await alice.open_chat(bob)
    sockets = [await connect(alice, joining=chat_id), await connect(bob, joining=chat_id)]
    posted = [
        await alice.say(chat_id, "one"),
        await bob.say(chat_id, "two", metadata={"mood": "fine"}),
        await alice.say(chat_id, "three"),
    ]
    for socket in sockets:
        await socket.wait("new-msg", 3)
        await settled(alice if socket is sockets[0] else bob, socket)
        assert socket.bodies("new-msg") == posted
    assert [message["seq"] for message in posted] == [1, 2, 3]


@each_client
async def test_an_outsider_gets_nothing(connect: Connect, register: Register) -> None:
    """A stranger hears nothing of a chat: no message, no activity, no title."""
    alice, bob, carol = await register("alice"), await register("bob"), await register("carol")
    outsider = await connect(carol)
    chat_id = await alice.open_chat(bob)
    ack = await outsider.emit("join-chat", chat_id)
    assert ack == {"ok": False, "error": {"code": "not_found", "message": ack["error"]["message"]}}
    await alice.say(chat_id, "not for carol")
    (await alice.call("PATCH", f"/api/chat/{chat_id}", {"title": "Still not"})).expect(200)
    await settled(carol, outsider)
    assert outsider.names() == ["connected", "chat-created"]


@each_client
async def test_a_member_who_did_not_join_gets_activity_alone(connect: Connect, register: Register) -> None:
    """`chat-activity` keeps a chat list true on every device without joining."""
    alice, bob = await register("alice"), await register("bob")
    chat_id = await alice.open_chat(bob)
    phone = await connect(bob)
    posted = await alice.say_all(chat_id, ["one", "two"])
    await settled(bob, phone)
    assert phone.bodies("new-msg") == []
    expected = [{"chatId": chat_id, "lastSeq": message["seq"], "lastMessage": message} for message in posted]
    assert phone.bodies("chat-activity") == expected


async def test_every_device_of_a_user_hears_of_chats(connect: Connect, register: Register) -> None:
    """`chat-created`, `-updated` and `-deleted` go to each socket of each member, as that member sees it."""
    alice, bob = await register("alice"), await register("bob")
    devices = [await connect(alice), await connect(alice, kind="python-websocket"), await connect(bob)]
    chat_id = await alice.open_chat(bob, title="First", context={"ticket": 7})
    (await bob.call("PATCH", f"/api/chat/{chat_id}", {"title": "Second"})).expect(200)
    (await alice.call("DELETE", f"/api/chat/{chat_id}")).expect(204)
    for device in devices:
        await device.wait("chat-deleted")
        names = device.names("chat-created", "chat-updated", "chat-deleted")
        assert names == ["chat-created", "chat-updated", "chat-deleted"]
        created, updated, deleted = device.bodies("chat-created", "chat-updated", "chat-deleted")
        assert (created["id"], created["title"], created["context"]) == (chat_id, "First", {"ticket": 7})
        assert (updated["id"], updated["title"], updated["unread"]) == (chat_id, "Second", 0)
        assert deleted == {"id": chat_id}


async def test_a_deleted_chat_is_silent_and_gone(connect: Connect, register: Register) -> None:
    """After a chat is deleted its sockets are out of the room and every call answers 404."""
    alice, bob = await register("alice"), await register("bob")
    chat_id = await alice.open_chat(bob)
    socket = await connect(bob, joining=chat_id)
    await alice.say(chat_id, "the last word")
    (await alice.call("DELETE", f"/api/chat/{chat_id}")).expect(204)
    assert (await alice.post(chat_id, "too late")).status == 404
    await socket.wait("chat-deleted")
    assert (await socket.emit("join-chat", chat_id))["error"]["code"] == "not_found"
    assert (await socket.emit("typing", {"chatId": chat_id, "isTyping": True}))["error"][
        "code"
    ] == "not_joined"


async def test_a_room_that_was_left_is_silent(connect: Connect, register: Register) -> None:
    """After `leave-chat` no `new-msg` comes, `chat-activity` still does."""
    alice, bob = await register("alice"), await register("bob")
    chat_id = await alice.open_chat(bob)
    socket = await connect(bob, joining=chat_id)
    await alice.say(chat_id, "heard")
    await socket.wait("new-msg")
    assert await socket.emit("leave-chat", chat_id) == {"ok": True}
    await alice.say(chat_id, "not heard")
    await settled(bob, socket)
    assert [message["content"] for message in socket.bodies("new-msg")] == ["heard"]
    assert socket.bodies("chat-activity")[-1]["lastSeq"] == 2


async def test_edits_and_deletions_reach_the_room(connect: Connect, register: Register) -> None:
    """`msg-updated` and `msg-deleted` carry the message as the API now answers it."""
    alice, bob = await register("alice"), await register("bob")
    chat_id = await alice.open_chat(bob)
    socket = await connect(bob, joining=chat_id)
    message = await alice.say(chat_id, "tpyo")
    path = f"/api/chat/{chat_id}/messages/{message['id']}"
    edited = (await alice.call("PATCH", path, {"content": "typo"})).expect(200)
    assert await socket.wait("msg-updated") == edited
    (await alice.call("DELETE", path)).expect(204)
    tombstone = await socket.wait("msg-deleted")
    assert (tombstone["id"], tombstone["seq"], tombstone["content"]) == (message["id"], 1, "")
    assert tombstone["deletedAt"]
    assert (await alice.get(f"/api/chat/{chat_id}/messages"))["items"] == [tombstone]


async def test_reading_is_told_to_the_room(connect: Connect, register: Register) -> None:
    """`read` says how far a member has read; it never goes back."""
    alice, bob = await register("alice"), await register("bob")
    chat_id = await alice.open_chat(bob)
    socket = await connect(alice, joining=chat_id)
    await alice.say_all(chat_id, ["one", "two", "three"])
    (await bob.call("POST", f"/api/chat/{chat_id}/read", {"seq": 2})).expect(204)
    assert await socket.wait("read") == {"chatId": chat_id, "userId": bob.id, "seq": 2}
    (await bob.call("POST", f"/api/chat/{chat_id}/read", {"seq": 1})).expect(204)
    assert (await bob.get(f"/api/chat/{chat_id}"))["unread"] == 1
    (await bob.call("POST", f"/api/chat/{chat_id}/read", {"seq": 99})).expect(204)
    await socket.wait("read", where=lambda read: read["seq"] == 3)
    assert (await bob.get(f"/api/chat/{chat_id}"))["unread"] == 0
    assert [read["seq"] for read in socket.bodies("read")] == sorted(
        read["seq"] for read in socket.bodies("read")
    )
