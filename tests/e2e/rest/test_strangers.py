"""Chats of others answer as if they did not exist."""

from typing import Any

import pytest
from support.client_kinds import Connect, Register
from support.rest import Api

CALLS = [
    ("GET", "", None),
    ("PATCH", "", {"title": "Mine"}),
    ("DELETE", "", None),
    ("GET", "/sync?afterSeq=0", None),
    ("POST", "/members", {"userId": "{me}"}),
    ("DELETE", "/members/{me}", None),
    ("DELETE", "/members/{owner}", None),
    ("GET", "/messages", None),
    ("PATCH", "/messages/{message}", {"content": "mine"}),
    ("DELETE", "/messages/{message}", None),
    ("POST", "/read", {"seq": 1}),
    ("POST", "/replies/{message}/cancel", None),
    ("POST", "/messages/{message}/regenerate", None),
]
NOBODY = "01890000-0000-7000-8000-000000000000"


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_another_s_chat_answers_404(
    register: Register, method: str, path: str, body: dict[str, Any] | None
) -> None:
    """A stranger gets the same 404 as for a chat that does not exist, and changes nothing."""
    alice, eve = await register("alice"), await register("eve")
    chat_id = await alice.open_chat(title="Private")
    message = await alice.say(chat_id, "secret")
    names = {"{me}": eve.id, "{owner}": alice.id, "{message}": message["id"]}
    for name, value in names.items():
        path = path.replace(name, value)
    if body == {"userId": "{me}"}:
        body = {"userId": eve.id}
    real = await eve.call(method, f"/api/chat/{chat_id}{path}", body)
    unreal = await eve.call(method, f"/api/chat/{NOBODY}{path}", body)
    assert (real.status, real.code) == (unreal.status, unreal.code) == (404, "not_found")
    assert real.json == unreal.json
    chat = await alice.get(f"/api/chat/{chat_id}")
    assert (chat["title"], chat["msgs"], len(chat["members"])) == ("Private", [message], 1)


async def test_a_stranger_can_neither_post_nor_list_nor_join(connect: Connect, register: Register) -> None:
    """Posting: 404. The list does not show it. The room: `not_found`."""
    alice, eve = await register("alice"), await register("eve")
    chat_id = await alice.open_chat()
    posted = await eve.post(chat_id, "hello")
    assert (posted.status, posted.code) == (404, "not_found")
    assert (await eve.get("/api/chat"))["items"] == []
    socket = await connect(eve)
    assert (await socket.emit("join-chat", {"chatId": chat_id, "afterSeq": 0}))["error"][
        "code"
    ] == "not_found"
    assert (await socket.emit("typing", {"chatId": chat_id, "isTyping": True}))["error"][
        "code"
    ] == "not_joined"


async def test_a_member_may_not_do_what_others_own(register: Register) -> None:
    """Doing what one sees but may not do is 403 `forbidden`."""
    alice, bob = await register("alice"), await register("bob")
    chat_id = await alice.open_chat(bob)
    message = await alice.say(chat_id, "alice's own words")
    path = f"/api/chat/{chat_id}/messages/{message['id']}"
    for method, target, body in [
        ("DELETE", f"/api/chat/{chat_id}", None),
        ("PATCH", path, {"content": "bob's"}),
        ("DELETE", path, None),
    ]:
        refused = await bob.call(method, target, body)
        assert (refused.status, refused.code) == (403, "forbidden"), (method, target)
    own = await bob.say(chat_id, "bob's own words")
    (await alice.call("DELETE", f"/api/chat/{chat_id}/messages/{own['id']}")).expect(204)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/me"),
        ("GET", "/api/users?username=x"),
        ("GET", "/api/chat"),
        ("POST", "/api/chat"),
        ("POST", "/api/chat/messages"),
        ("POST", "/api/auth/logout"),
        *((method, f"/api/chat/{NOBODY}{path.replace('{me}', NOBODY)}") for method, path, _ in CALLS[:5]),
    ],
)
async def test_without_a_token_nothing_is_answered(api: Api, method: str, path: str) -> None:
    """401 `token_missing` without, `token_invalid` with something else in its place."""
    missing = await api.call(method, path)
    assert (missing.status, missing.code) == (401, "token_missing")
    for value in ("Basic eDp5", "Bearer", "Bearer ", "Bearer x y", "x"):
        answer = await api.call(method, path, headers={"Authorization": value})
        assert answer.status == 401, value
        assert answer.code in {"token_missing", "token_invalid"}, value


async def test_open_paths_need_no_token(api: Api) -> None:
    """Page, documents, keys and health are for everybody."""
    for path in ("/", "/docs", "/openapi.json", "/.well-known/jwks.json", "/healthz", "/readyz", "/metrics"):
        assert (await api.call("GET", path)).status == 200, path
