"""Lists and what they show."""

import re
from typing import Any

from support.client_kinds import Register
from support.rest import Person

UUID7 = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")


async def test_bodies_have_the_shapes_of_the_contract(register: Register) -> None:
    """Names, ids and times of `Chat`, `Member` and `Message`, to the letter."""
    alice, bob = await register("alice"), await register("bob")
    fields = {"title": "Shapes", "memberIds": [bob.id, bob.id, alice.id], "context": {"a": [1, None]}}
    chat = (await alice.call("POST", "/api/chat", fields)).expect(201)
    assert chat == {
        "id": chat["id"],
        "title": "Shapes",
        "ownerId": alice.id,
        "assistant": "mention",
        "context": {"a": [1, None]},
        "lastSeq": 0,
        "createdAt": chat["createdAt"],
        "updatedAt": chat["updatedAt"],
        "lastMessage": None,
        "unread": 0,
    }
    message = await alice.say(chat["id"], "hello")
    assert message == {
        "id": message["id"],
        "chatId": chat["id"],
        "seq": 1,
        "role": "USER",
        "userId": alice.id,
        "content": "hello",
        "time": message["time"],
        "replyTo": None,
        "metadata": None,
        "editedAt": None,
        "deletedAt": None,
    }
    assert all(UUID7.match(value) for value in (chat["id"], message["id"], alice.id))
    assert all(TIME.match(value) for value in (chat["createdAt"], chat["updatedAt"], message["time"]))
    whole = await bob.get(f"/api/chat/{chat['id']}")
    assert (whole["msgs"], whole["reply"], whole["unread"]) == ([message], None, 1)
    members = {member["userId"]: member for member in whole["members"]}
    for person, role in ((alice, "owner"), (bob, "member")):
        shown = members[person.id]
        name = person.user["displayName"]
        assert shown == {
            "userId": person.id,
            "displayName": name,
            "role": role,
            "joinedAt": shown["joinedAt"],
        }
    (listed,) = (await bob.get("/api/chat"))["items"]
    assert (listed["lastMessage"], listed["lastSeq"], listed["unread"]) == (message, 1, 1)


async def _pages(person: Person, path: str) -> list[Any]:
    items: list[Any] = []
    cursor = ""
    while True:
        page = await person.get(path + cursor)
        items += page["items"]
        if page["nextCursor"] is None:
            return items
        cursor = f"&cursor={page['nextCursor']}"


async def test_chats_are_listed_by_activity_page_by_page(register: Register) -> None:
    """Latest activity first; pages neither skip nor repeat."""
    alice = await register("alice")
    chats = [await alice.open_chat(title=f"Chat {number}") for number in range(7)]
    await alice.say(chats[2], "now I am first")
    expected = [chats[2], *(chat for chat in reversed(chats) if chat != chats[2])]
    for limit in (1, 2, 3, 7, 100):
        assert [chat["id"] for chat in await _pages(alice, f"/api/chat?limit={limit}")] == expected


async def test_messages_are_paged_both_ways(register: Register) -> None:
    """`afterSeq` goes up, `beforeSeq` down, neither is the last page; `hasMore` says when to go on."""
    alice = await register("alice")
    chat_id = await alice.open_chat()
    await alice.say_at_once(chat_id, [str(number) for number in range(120)])

    async def page(query: str) -> tuple[list[int], bool]:
        answer = await alice.get(f"/api/chat/{chat_id}/messages{query}")
        return [message["seq"] for message in answer["items"]], answer["hasMore"]

    assert await page("") == (list(range(71, 121)), True)
    assert await page("?limit=200") == (list(range(1, 121)), False)
    assert await page("?limit=120") == (list(range(1, 121)), False)
    assert await page("?afterSeq=0&limit=100") == (list(range(1, 101)), True)
    assert await page("?afterSeq=100&limit=20") == (list(range(101, 121)), False)
    assert await page("?afterSeq=120") == ([], False)
    assert await page("?afterSeq=999") == ([], False)
    assert await page("?beforeSeq=71") == (list(range(21, 71)), True)
    assert await page("?beforeSeq=21") == (list(range(1, 21)), False)
    assert await page("?beforeSeq=1") == ([], False)
    chat = await alice.get(f"/api/chat/{chat_id}")
    assert [message["seq"] for message in chat["msgs"]] == list(range(101, 121))


async def test_a_tombstone_cannot_be_edited(register: Register) -> None:
    """Deleting twice: 204 twice. Editing what is deleted: 409 `deleted`."""
    alice = await register("alice")
    chat_id = await alice.open_chat()
    message = await alice.say(chat_id, "gone", metadata={"a": 1})
    path = f"/api/chat/{chat_id}/messages/{message['id']}"
    edited = (await alice.call("PATCH", path, {"content": "gone soon"})).expect(200)
    assert {**edited, "editedAt": None} == {**message, "content": "gone soon"}
    assert TIME.match(edited["editedAt"])
    assert (await alice.call("DELETE", path)).status == 204
    assert (await alice.call("DELETE", path)).status == 204
    refused = await alice.call("PATCH", path, {"content": "back"})
    assert (refused.status, refused.code) == (409, "deleted")
    (tombstone,) = (await alice.get(f"/api/chat/{chat_id}/messages"))["items"]
    assert (tombstone["id"], tombstone["content"]) == (message["id"], "")
    assert TIME.match(tombstone["deletedAt"])


async def test_a_chat_is_changed_field_by_field(register: Register) -> None:
    """PATCH changes what it names, by any member; `context: null` clears it."""
    alice, bob = await register("alice"), await register("bob")
    chat_id = await alice.open_chat(bob, title="Old", context={"a": 1})
    path = f"/api/chat/{chat_id}"
    changed = (await bob.call("PATCH", path, {"title": "New"})).expect(200)
    assert (changed["title"], changed["context"], changed["assistant"]) == ("New", {"a": 1}, "off")
    changed = (await alice.call("PATCH", path, {"context": None, "assistant": "mention"})).expect(200)
    assert (changed["title"], changed["context"], changed["assistant"]) == ("New", None, "mention")
    refused = await alice.call("PATCH", path, {"title": None})
    assert (refused.status, refused.code) == (422, "validation_failed")
