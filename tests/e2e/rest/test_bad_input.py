"""Bad input gets a clear problem, and the service goes on."""

import asyncio
import io
from typing import Any

import aiohttp
import orjson
import pytest
from support.client_kinds import Connect, NewClient
from support.rest import Answer, Api, Person
from support.stack import Stack

NOBODY = "01890000-0000-7000-8000-000000000000"


def problem(answer: Answer, status: int, code: str) -> Any:
    """The problem document, after a check of its shape."""
    assert (answer.status, answer.code) == (status, code), answer.raw[:500]
    assert answer.headers["content-type"].split(";")[0] == "application/problem+json"
    assert set(answer.json) >= {"type", "title", "status", "detail", "code"}
    assert answer.json["status"] == status
    return answer.json


@pytest.fixture
def alice(someone: Person) -> Person:
    """A user."""
    return someone


@pytest.fixture
async def chat_id(alice: Person) -> str:
    """The user's chat."""
    return await alice.open_chat()


@pytest.mark.parametrize("data", [b"{", b"", b"\xff\xfe", b"nonsense", b'{"a":1}}', b'{"title": NaN}'])
async def test_what_is_not_json_is_bad_json(alice: Person, data: bytes) -> None:
    """400 `bad_json`."""
    problem(await alice.call("POST", "/api/chat", data=data), 400, "bad_json")


@pytest.mark.parametrize("document", [[], "x", 7, None, True])
async def test_json_that_is_no_object_does_not_fit(alice: Person, document: Any) -> None:
    """422 `validation_failed`."""
    answer = await alice.call("POST", "/api/chat", data=orjson.dumps(document))
    problem(answer, 422, "validation_failed")


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"title": ""}, "title"),
        ({"title": 7}, "title"),
        ({"title": None}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"title": "a\u0000b"}, "title"),
        ({}, "title"),
        ({"title": "x", "surprise": 1}, "surprise"),
        ({"title": "x", "assistant": "sometimes"}, "assistant"),
        ({"title": "x", "memberIds": "x"}, "memberIds"),
        ({"title": "x", "memberIds": [7]}, "memberIds"),
        ({"title": "x", "memberIds": [NOBODY]}, "memberIds"),
        ({"title": "x", "memberIds": [f"01890000-0000-7000-8000-{n:012}" for n in range(101)]}, "memberIds"),
        ({"title": "x", "context": []}, "context"),
        ({"title": "x", "context": {"big": "x" * 17_000}}, "context"),
        ({"title": "x", "context": {"nul": "a\u0000b"}}, "context"),
        ({"title": "x", "context": {"a\u0000b": 1}}, "context"),
    ],
)
async def test_a_chat_that_does_not_fit_names_the_field(
    alice: Person, fields: dict[str, Any], path: str
) -> None:
    """422 `validation_failed` with the field's path, and no chat."""
    before = await alice.get("/api/chat")
    answer = await alice.call("POST", "/api/chat", fields)
    errors = problem(answer, 422, "validation_failed")["errors"]
    assert any(path in orjson.dumps(error).decode() for error in errors), errors
    assert await alice.get("/api/chat") == before


@pytest.mark.parametrize(
    "fields",
    [
        {"content": ""},
        {"content": "x" * 32_001},
        {"content": "a\u0000b"},
        {"content": 7},
        {"content": None},
        {"content": "x", "role": "AI"},
        {"content": "x", "replyTo": 7},
        {"content": "x", "metadata": "text"},
        {"content": "x", "metadata": {"big": "x" * 17_000}},
        {"content": "x", "metadata": {"deep": ["a\u0000b"]}},
        {"content": "x", "chatId": 7},
    ],
)
async def test_a_message_that_does_not_fit_is_refused(
    alice: Person, chat_id: str, fields: dict[str, Any]
) -> None:
    """422 `validation_failed`, no message, and the next one is taken."""
    answer = await alice.call("POST", "/api/chat/messages", {"chatId": chat_id, **fields})
    assert problem(answer, 422, "validation_failed")["errors"]
    assert (await alice.say(chat_id, "fine"))["seq"] == 1


async def test_ids_that_are_none_name_nothing(alice: Person, chat_id: str) -> None:
    """Text that is no id is as unknown as an id that nothing has."""
    for unknown in ("not an id", NOBODY, "", "x" * 1_000, chat_id.replace("-", "")):
        answer = await alice.post(unknown, "x")
        assert answer.code in {"not_found", "validation_failed"}, unknown
        answer = await alice.post(chat_id, "x", replyTo=unknown)
        assert (answer.status, answer.code) in {(422, "reply_not_found"), (422, "validation_failed")}, unknown


@pytest.mark.parametrize("text", [b'"\\ud800"', b'"a\\u0000b"', b'"\\udc00\\ud800"'])
async def test_text_that_is_none_is_refused(alice: Person, chat_id: str, text: bytes) -> None:
    """NUL and lone surrogates, escaped, are refused as 4xx, never 500."""
    data = b'{"chatId": "%s", "content": %s}' % (chat_id.encode(), text)
    answer = await alice.call("POST", "/api/chat/messages", data=data)
    assert (answer.status, answer.code) in {(422, "validation_failed"), (400, "bad_json")}


@pytest.mark.parametrize(
    "account",
    [
        {"username": "ab"},
        {"username": "x" * 33},
        {"username": "with space"},
        {"username": "ünï"},
        {"username": "a\u0000bc"},
        {"username": 7},
        {"password": "short"},
        {"password": "x" * 129},
        {"password": 12345678},
        {"displayName": ""},
        {"displayName": "x" * 81},
        {"displayName": "a\u0000b"},
        {"isAdmin": True},
    ],
)
async def test_an_account_that_does_not_fit_is_refused(api: Api, account: dict[str, Any]) -> None:
    """422 `validation_failed`; the password does not come back."""
    body = {"username": "somebody-new", "password": "long enough", **account}
    answer = await api.call("POST", "/api/auth/register", body)
    problem(answer, 422, "validation_failed")
    assert b"long enough" not in answer.raw


@pytest.mark.parametrize(
    "query",
    [
        "afterSeq=x",
        "afterSeq=-1",
        "afterSeq=",
        f"afterSeq={10**30}",
        "afterSeq=1&beforeSeq=2",
        "limit=0",
        "limit=201",
        "limit=x",
    ],
)
async def test_a_query_that_does_not_fit_is_refused(alice: Person, chat_id: str, query: str) -> None:
    """422 `validation_failed`."""
    problem(await alice.call("GET", f"/api/chat/{chat_id}/messages?{query}"), 422, "validation_failed")


async def test_other_queries_that_do_not_fit(alice: Person, chat_id: str) -> None:
    """Limits, cursors and numbers of the other calls."""
    for path in ("/api/chat?limit=0", "/api/chat?limit=101", "/api/chat?cursor=rubbish", "/api/chat?cursor="):
        problem(await alice.call("GET", path), 422, "validation_failed")
    for seq in ("-1", '"1"', "1.5", "null", "true", "1" + "0" * 30, "1e400"):
        data = f'{{"seq": {seq}}}'.encode()
        answer = await alice.call("POST", f"/api/chat/{chat_id}/read", data=data)
        assert answer.code in {"bad_json", "validation_failed"}, seq
    problem(await alice.call("GET", f"/api/chat/{chat_id}/sync?afterSeq=x"), 422, "validation_failed")


async def test_unknown_paths_methods_and_types(alice: Person, chat_id: str) -> None:
    """404, 405 with `Allow`, 415: each a problem document."""
    for path in ("/api/nothing", "/nothing", "/api/chat/x/y/z", "/api/chat/not-an-id", f"/api/chat/{NOBODY}"):
        problem(await alice.call("GET", path), 404, "not_found")
    refused = await alice.call("PUT", f"/api/chat/{chat_id}")
    problem(refused, 405, "method_not_allowed")
    assert {name.strip() for name in refused.headers["allow"].split(",")} >= {"GET", "PATCH", "DELETE"}
    for media in ("text/plain", "application/x-www-form-urlencoded", "application/xml"):
        answer = await alice.call("POST", "/api/chat", {"title": "x"}, headers={"Content-Type": media})
        problem(answer, 415, "unsupported_media_type")
    charset = {"Content-Type": "application/json; charset=utf-8"}
    (await alice.call("POST", "/api/chat", {"title": "x"}, headers=charset)).expect(201)
    path = f"/api/chat/{chat_id}/messages/{NOBODY}"
    problem(await alice.call("PATCH", path, {"content": "x"}), 404, "not_found")
    problem(await alice.call("DELETE", path), 404, "not_found")


async def test_ten_megabytes_are_refused_early(stack: Stack, alice: Person, chat_id: str) -> None:
    """413 `too_large`, with a length and in chunks; 256 KiB and a byte is too much, less is read."""
    problem(await alice.call("POST", "/api/chat", data=b"x" * (256 * 1024 + 1)), 413, "too_large")
    problem(await alice.call("POST", "/api/chat", data=b"x" * (256 * 1024)), 400, "bad_json")
    async with aiohttp.ClientSession() as http:

        async def chunks() -> Any:
            for _ in range(160):
                yield b"x" * 65_536

        headers = {"Authorization": f"Bearer {alice.token}", "Content-Type": "application/json"}
        for data in (io.BytesIO(b"x" * 10_000_000), chunks()):
            try:
                async with http.post(f"{stack.api.url}/api/chat", data=data, headers=headers) as answer:
                    assert answer.status == 413
                    assert (await answer.json(content_type=None))["code"] == "too_large"
            except (aiohttp.ClientConnectionError, TimeoutError):
                pass  # closed while we were still sending: refused early indeed
    await alice.say(chat_id, "still there")


async def test_the_gateway_survives_rubbish(stack: Stack, connect: Connect, alice: Person) -> None:
    """Broken frames, wrong paths and huge payloads end their own connection at most."""
    witness = await connect(alice)
    url = stack.gateway.url
    async with aiohttp.ClientSession() as http:
        for path in (
            "/",
            "/socket.io",
            "/socket.io/other",
            "/nothing",
            "/ws",
            "/socket.iox/?EIO=4&transport=polling",
        ):
            async with http.get(url + path) as answer:
                assert answer.status in {400, 404}, path
        for query in (
            "",
            "?EIO=3&transport=polling",
            "?EIO=4&transport=carrier-pigeon",
            "?EIO=4&transport=polling&sid=x",
        ):
            async with http.get(f"{url}/socket.io/{query}") as answer:
                assert 400 <= answer.status < 500, query
        for frame in (
            "",
            "x",
            "4",
            "49",
            "42",
            "42[",
            '42["x"',
            "42{}",
            "42[]",
            "42[7]",
            '42/other,["x"]',
            "451-[]",
            "4" * 100_000,
        ):
            async with http.ws_connect(f"{url}/socket.io/?EIO=4&transport=websocket") as socket:
                await socket.receive(timeout=5)
                await socket.send_str(f'40{{"token":"{alice.token}"}}')
                await socket.receive(timeout=5)
                await socket.send_str(frame)
        async with http.ws_connect(f"{url}/socket.io/?EIO=4&transport=websocket") as socket:
            await socket.send_bytes(b"\x00" * 100)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"{url}/chat")
        assert refused.value.status == 404
    assert (await witness.emit("heartbeat"))["ok"]


async def test_a_payload_past_the_limit_ends_the_socket_alone(
    connect: Connect, new_client: NewClient, alice: Person
) -> None:
    """More than `limits.maxPayload` closes that socket; others go on."""
    witness, loud = await connect(alice), await connect(alice, kind="python-websocket")
    limit = loud.bodies("connected")[0]["limits"]["maxPayload"]
    asking = asyncio.ensure_future(loud.emit("heartbeat", "x" * (limit + 1000)))
    await loud.wait_disconnected()
    asking.cancel()
    assert (await witness.emit("heartbeat"))["ok"]
