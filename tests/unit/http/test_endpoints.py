"""The promises of every endpoint before its handler runs, and whatever happens in it."""

from io import BytesIO

import pytest
from unit.http.endpoints import CHAT, Ask, Failing, sent, things

from chat_api.http.openapi import openapi


async def test_a_fitting_query_reaches_the_handler(ask: Ask) -> None:
    """Defaults where it says nothing."""
    got = await ask("GET", "/things?afterSeq=7&cursor=%C3%BC")
    assert got.json == {"afterSeq": 7, "limit": 50, "cursor": "ü"}
    assert (await ask("HEAD", "/things")).status == 200


@pytest.mark.parametrize(
    ("query", "at"),
    [
        ("afterSeq=x", "afterSeq"),
        ("afterSeq=", "afterSeq"),
        ("afterSeq=-1", "afterSeq"),
        ("afterSeq=1.0", "afterSeq"),
        ("afterSeq=%2B1", "afterSeq"),
        ("afterSeq=1_0", "afterSeq"),
        ("afterSeq=%D9%A3", "afterSeq"),
        ("afterSeq=true", "afterSeq"),
        (f"afterSeq={2**53}", "afterSeq"),
        (f"afterSeq={10**30}", "afterSeq"),
        ("after_seq=1", "after_seq"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=1&limit=2", "limit"),
        ("cursor=%00", "cursor"),
        ("surprise=1", "surprise"),
    ],
)
async def test_a_query_that_does_not_fit_is_named(ask: Ask, query: str, at: str) -> None:
    """422 with the parameter's name; numbers are digits."""
    got = await ask("GET", f"/things?{query}")
    assert (got.status, got.code, got.fields) == (422, "validation_failed", [at])


async def test_ids_in_paths_are_uuids(ask: Ask) -> None:
    """In lower case inside; what cannot be an id is the id of nothing. A user's id is any text."""
    got = await ask("GET", f"/things/{CHAT}/of/auth0%7C5%2F%C3%BC")
    assert got.json == {"chatId": CHAT.lower(), "userId": "auth0|5/ü"}
    for path in (
        "/things/x/of/ada",
        f"/things/{CHAT[:-1]}/of/ada",
        f"/things/{CHAT}0/of/ada",
        f"/things/{CHAT.replace('-', '')}/of/ada",
        f"/things/{CHAT}/of/a%00",
        f"/things/{CHAT}/of/{'x' * 256}",
        f"/things/{CHAT}/of/",
    ):
        got = await ask("GET", path)
        assert (got.status, got.code) == (404, "not_found"), path


async def test_declared_headers_are_checked(ask: Ask) -> None:
    """Once, within bounds; without it there is none."""
    assert (await ask("POST", "/keyed")).json == {"key": None}
    assert (await ask("POST", "/keyed", headers={"idempotency-key": "ü"})).json == {"key": "ü"}
    for value in ("", "x" * 21):
        got = await ask("POST", "/keyed", headers={"Idempotency-Key": value})
        assert (got.status, got.fields) == (422, ["Idempotency-Key"])


async def test_unknown_paths_and_methods(ask: Ask) -> None:
    """404 and 405 with `Allow`, token or not."""
    for token in (None, "t"):
        got = await ask("GET", "/nothing", token=token)
        assert (got.status, got.code) == (404, "not_found")
        got = await ask("PUT", "/things", token=token)
        assert (got.status, got.code) == (405, "method_not_allowed")
        assert set(got.headers["Allow"].split(",")) == {"GET", "HEAD", "POST"}


async def test_a_word_in_a_path_is_no_id(ask: Ask) -> None:
    """Other methods are 405 where it stands beside an id, and not a missing chat."""
    got = await ask("DELETE", "/things/named")
    assert (got.status, got.headers["Allow"]) == (405, "POST")
    got = await ask("DELETE", f"/things/{CHAT}")
    assert got.json == {"chatId": CHAT.lower()}


async def test_only_open_endpoints_need_no_token(ask: Ask) -> None:
    """401 comes before anything is read of the body; with `WWW-Authenticate`."""
    got = await ask("POST", "/things", token=None, **sent(BytesIO(b"x" * 10_000_000)))
    assert (got.status, got.code) == (401, "token_missing")
    assert got.headers["WWW-Authenticate"] == "Bearer"
    got = await ask("DELETE", "/open", token=None)
    assert (got.status, got.raw) == (204, b"")


def test_the_description_is_made_from_the_declarations() -> None:
    """OpenAPI says what an endpoint declares."""
    described = openapi([things(Failing())], version="1.2.3")
    assert described["openapi"] == "3.1.0"
    make = described["paths"]["/things"]["post"]
    assert make["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/NewThing")
    assert set(make["responses"]) == {"201", "400", "401", "413", "415", "422", "500", "503"}
    body = described["components"]["schemas"]["NewThing"]
    assert body["required"] == ["someTitle"]
    assert body["additionalProperties"] is False
    assert "additionalProperties" not in described["components"]["schemas"]["Thing"]
    (key,) = described["paths"]["/keyed"]["post"]["parameters"]
    assert (key["name"], key["in"], key["schema"]["maxLength"]) == ("Idempotency-Key", "header", 20)
    after, limit, cursor = described["paths"]["/things"]["get"]["parameters"]
    assert after["schema"] == {"type": "integer", "minimum": 0, "maximum": 2**53 - 1}
    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": 100, "default": 50}
    assert (cursor["name"], cursor["schema"]) == ("cursor", {"type": "string"})
    shown = described["paths"]["/things/{chatId}/of/{userId}"]["get"]["parameters"]
    assert [(each["name"], each["schema"].get("format")) for each in shown] == [
        ("chatId", "uuid"),
        ("userId", None),
    ]
    assert described["paths"]["/open"]["delete"]["security"] == []
    assert "401" not in described["paths"]["/open"]["delete"]["responses"]
