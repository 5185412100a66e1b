"""Leaving for good: removed members and deleted chats, while joining too."""

from integration.joining.pending_join import PendingJoin, member_removed, numbers
from support.gateways import RunningGateway, message_created

from shared.events import (
    CHAT_DELETED,
    MEMBER_REMOVED,
    MESSAGE_UPDATED,
    Event,
    chat_room,
    user_room,
)


async def test_a_second_join_of_a_former_member_puts_it_out(gateway: RunningGateway) -> None:
    """`not_found` is the API's word that the user is no member."""
    chat_id = gateway.api.open_chat("ada")
    client = await gateway.join("ada", chat_id)
    gateway.api.chats[chat_id].clear()
    assert (await client.emit("join-chat", chat_id))["error"]["code"] == "not_found"
    await gateway.publish(message_created(chat_id, 1, "ada"))
    await client.wait("chat-activity")
    assert not numbers(client)


async def test_a_removed_member_is_out_after_being_told(gateway: RunningGateway) -> None:
    """All of its sockets get `member-removed` and nothing posted later; the others go on."""
    chat_id = gateway.api.open_chat("ada", "ben")
    ada, also_ada, ben = [await gateway.join(user, chat_id) for user in ("ada", "ada", "ben")]
    await gateway.publish(
        message_created(chat_id, 1), member_removed(chat_id, "ada"), message_created(chat_id, 2, "ada")
    )
    await ben.wait("new-msg", 2)
    for client in (ada, also_ada):
        await client.wait("chat-activity")
        assert client.names("new-msg", "member-removed") == ["new-msg", "member-removed"]
        assert (await client.emit("typing", {"chatId": chat_id, "isTyping": True}))["ok"] is False
    assert ben.names("new-msg", "member-removed") == ["new-msg", "member-removed", "new-msg"]


async def test_a_member_removed_while_joining_does_not_get_in(gateway: RunningGateway) -> None:
    """Even when the API has said yes before."""
    chat_id = gateway.api.open_chat("ada")
    client = await gateway.connect("ada")
    async with PendingJoin(gateway, client, chat_id) as joining:
        await gateway.publish(member_removed(chat_id, "ada"), message_created(chat_id, 1, "ada"))
    assert joining.answer.result()["error"]["code"] == "not_found"
    await client.wait("chat-activity")
    assert not numbers(client)
    assert len(client.bodies("member-removed")) == 1


async def test_an_event_that_cannot_be_read_is_passed_over(gateway: RunningGateway) -> None:
    """Those around it are relayed."""
    chat_id = gateway.api.open_chat("ada")
    client = await gateway.join("ada", chat_id)
    room = (chat_room(chat_id),)
    await gateway.publish(
        Event(type=MEMBER_REMOVED, body=b"nonsense", rooms=room),
        Event(type=MEMBER_REMOVED, body=b"[]", rooms=room),
        Event(type=MESSAGE_UPDATED, name="msg-updated", body=b"\xff", rooms=room),
        Event(type="of.a.later.version", name="later", body=b'{"a":1}', rooms=room),
        message_created(chat_id, 1),
    )
    await client.wait("new-msg")
    assert client.bodies("later") == [{"a": 1}]


async def test_a_deleted_chat_is_closed(gateway: RunningGateway) -> None:
    """Members hear of it in their own rooms; nobody is in the chat's room any more, nor gets in."""
    chat_id = gateway.api.open_chat("ada", "ben")
    ada, ben = await gateway.join("ada", chat_id), await gateway.connect("ben")
    deleted = Event(
        type=CHAT_DELETED,
        name="chat-deleted",
        body=b'{"id":"%b"}' % chat_id.encode(),
        subject=chat_id,
        rooms=(user_room("ada"), user_room("ben")),
    )
    async with PendingJoin(gateway, ben, chat_id) as joining:
        await gateway.publish(deleted, message_created(chat_id, 1, "ada"))
    assert joining.answer.result()["error"]["code"] == "not_found"
    await ada.wait("chat-activity")
    assert ada.bodies("chat-deleted") == ben.bodies("chat-deleted") == [{"id": chat_id}]
    assert not numbers(ada)
