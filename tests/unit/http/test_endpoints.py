"""The promises of every endpoint before its handler runs, and whatever happens in it."""

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Annotated, Any, Literal

import aiohttp
import asyncpg
import orjson
import pytest
from aiohttp import web
from pydantic import Field
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from chat_api.http.endpoints import Call, Caller, Endpoints, add_endpoints, answer
from chat_api.http.error_middleware import problems_middleware
from chat_api.http.fields import ApiModel, JsonObject, Seq, text
from chat_api.http.openapi import openapi
from chat_api.http.problems import Forbidden, NotFound, Problem, RateLimited, TokenMissing, ValidationFailed
from shared.http.access_log import http_middleware
from shared.http.cors import Origins, cors_middleware

CHAT = "01890000-0000-7000-8000-00000000ABCD"
OWN = "https://chat.example.org"


class Part(ApiModel):
    some_number: int


class NewThing(ApiModel):
    some_title: Annotated[str, text(1, 5)]
    member_ids: Annotated[list[str], Field(max_length=3, default_factory=list)]
    part: Part | None = None
    is_done: bool = False
    kind: Literal["a", "b"] = "a"
    context: JsonObject | None = None


class Thing(ApiModel):
    some_title: str
    context: JsonObject | None = None


class ThingQuery(ApiModel):
    after_seq: Seq | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 50
    cursor: str | None = None


class Page(ApiModel):
    after_seq: int | None
    limit: int
    cursor: str | None


class Place(ApiModel):
    seq: Seq


class Key(ApiModel):
    key: str | None


class Failing:
    """An endpoint that raises what a test tells it to."""

    def __init__(self) -> None:
        self.error: BaseException = RuntimeError("secret")


class BearersOnly:
    """Takes every header but none."""

    async def authenticate(self, authorization: str | None, *, session_checked: bool) -> Caller:
        if authorization is None:
            raise TokenMissing
        return Caller("ada", "session", "Ada", 0)


def things(failing: Failing) -> Endpoints:
    endpoints = Endpoints("Things")

    @endpoints.post("/things", body=NewThing, summary="Make", answers={201: Thing})
    async def make(call: Call[NewThing, None]) -> web.StreamResponse:
        return answer(201, Thing(some_title=call.body.some_title, context=call.body.context))

    @endpoints.get("/things", query=ThingQuery, summary="List", answers={200: Page})
    async def page(call: Call[None, ThingQuery]) -> web.StreamResponse:
        return answer(200, Page(**call.query.model_dump()))

    @endpoints.get("/things/{chatId}/of/{userId}", summary="Show", answers={200: Key}, problems=[NotFound])
    async def show(call: Call[None, None]) -> web.StreamResponse:
        return answer(200, orjson.dumps(dict(call.path)))

    @endpoints.post(
        "/keyed",
        summary="Keyed",
        answers={200: Key},
        headers={"Idempotency-Key": Annotated[str, text(1, 20)]},
    )
    async def keyed(call: Call[None, None]) -> web.StreamResponse:
        return answer(200, Key(key=call.headers.get("Idempotency-Key")))

    @endpoints.post("/things/named", body=Place, summary="Named", answers={200: Place})
    async def named(call: Call[Place, None]) -> web.StreamResponse:
        return answer(200, call.body)

    @endpoints.delete("/things/{chatId}", summary="Remove", answers={200: Key})
    async def remove(call: Call[None, None]) -> web.StreamResponse:
        return answer(200, orjson.dumps(dict(call.path)))

    @endpoints.delete("/open", summary="Open", answers={204: None}, open=True)
    async def is_open(call: Call[None, None]) -> web.StreamResponse:
        return answer(204)

    @endpoints.patch("/failing", summary="Fail", answers={204: None})
    async def fail(call: Call[None, None]) -> web.StreamResponse:
        raise failing.error

    return endpoints


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    raw: bytes
    json: Any = field(default=None)

    @property
    def code(self) -> str:
        return str(self.json["code"])

    @property
    def fields(self) -> list[str]:
        return [error["field"] for error in self.json["errors"]]


Ask = Callable[..., Awaitable[Answer]]


@pytest.fixture(scope="module")
def failing() -> Failing:
    return Failing()


@pytest.fixture(scope="module")
async def ask(failing: Failing) -> AsyncIterator[Ask]:
    """Calls the application over a real connection."""
    app = web.Application(
        middlewares=[
            http_middleware("api"),
            cors_middleware(Origins(frozenset({OWN}))),
            problems_middleware(),
        ]
    )
    add_endpoints(app, [things(failing)], authenticator=BearersOnly())
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    async with aiohttp.ClientSession(f"http://{host}:{port}") as http:

        async def call(method: str, path: str, *, token: str | None = "t", **options: Any) -> Answer:
            headers = dict(options.pop("headers", {}))
            if token is not None:
                headers["Authorization"] = f"Bearer {token}"
            async with http.request(method, path, headers=headers, **options) as got:
                raw = await got.read()
                is_json = raw and "json" in got.content_type
                return Answer(got.status, dict(got.headers), raw, orjson.loads(raw) if is_json else None)

        yield call
    await runner.cleanup()


def sent(data: object) -> dict[str, Any]:
    """A body as it is, said to be JSON."""
    return {"data": data, "headers": {"Content-Type": "application/json"}}


async def test_a_fitting_body_reaches_the_handler(ask: Ask) -> None:
    """camelCase in, camelCase out."""
    context = {"a": [1, 2.5, None, {"b": "ü"}]}
    got = await ask("POST", "/things", json={"someTitle": "x", "memberIds": ["y"], "context": context})
    assert (got.status, got.json) == (201, {"someTitle": "x", "context": context})
    assert got.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({}, "someTitle"),
        ({"some_title": "x"}, "some_title"),
        ({"someTitle": 1}, "someTitle"),
        ({"someTitle": ""}, "someTitle"),
        ({"someTitle": "toolong"}, "someTitle"),
        ({"someTitle": "x", "surprise": 1}, "surprise"),
        ({"someTitle": "x", "memberIds": ["a", 7]}, "memberIds.1"),
        ({"someTitle": "x", "memberIds": ["a"] * 4}, "memberIds"),
        ({"someTitle": "x", "part": {"someNumber": "1"}}, "part.someNumber"),
        ({"someTitle": "x", "part": {"someNumber": True}}, "part.someNumber"),
        ({"someTitle": "x", "part": {"someNumber": 1.5}}, "part.someNumber"),
        ({"someTitle": "x", "isDone": 1}, "isDone"),
        ({"someTitle": "x", "isDone": "true"}, "isDone"),
        ({"someTitle": "x", "kind": "c"}, "kind"),
        ({"someTitle": "x", "context": []}, "context"),
        ({"someTitle": "x", "context": {"deep": [{"a\0": 1}]}}, "context.deep.0.a\0"),
        ({"someTitle": "x", "context": {"deep": [0, "a\0"]}}, "context.deep.1"),
        ({"someTitle": "a\0"}, "someTitle"),
        ([], ""),
        ("text", ""),
        (None, ""),
    ],
)
async def test_what_does_not_fit_is_named_as_the_caller_wrote_it(ask: Ask, body: Any, at: str) -> None:
    """422 with the field's path, strictly typed."""
    got = await ask("POST", "/things", **sent(orjson.dumps(body)))
    assert (got.status, got.code) == (422, "validation_failed")
    assert at in got.fields


async def test_characters_are_code_points(ask: Ask) -> None:
    """Five emoji are five characters."""
    assert (await ask("POST", "/things", json={"someTitle": "😀" * 5})).status == 201
    assert (await ask("POST", "/things", json={"someTitle": "😀" * 6})).status == 422


@pytest.mark.parametrize("text", [b'"\\ud800"', b'"\\udc00\\ud800"', b'"a\\ud83dz"'])
async def test_lone_surrogates_do_not_fit(ask: Ask, text: bytes) -> None:
    """In values and in keys, wherever they are."""
    value = b'{"someTitle": "x", "context": {"a": %s}}' % text
    key = b'{"someTitle": "x", "context": {%s: 1}}' % text
    for body in (value, key):
        got = await ask("POST", "/things", **sent(body))
        assert (got.status, got.code) == (422, "validation_failed")
        assert got.fields[0].startswith("context.")


async def test_escapes_that_only_look_like_nul_fit(ask: Ask) -> None:
    r"""`\\u0000` is a backslash and five characters."""
    got = await ask("POST", "/things", **sent(rb'{"someTitle": "x", "context": {"a": "\\u0000"}}'))
    assert got.status == 201
    paired = b'{"someTitle": "\\ud83d\\ude00"}'
    assert (await ask("POST", "/things", **sent(paired))).json["someTitle"] == "😀"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{}}",
        b"nonsense",
        b"\xff",
        b'{"someTitle": "\xff"}',
        b'{"someTitle": NaN}',
        b'{"someTitle": Infinity}',
        b'{"someTitle": -Infinity}',
        b'{"someTitle": "a\x00b"}',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"[" * 100_000,
        b"[" * 101 + b"]" * 101,
        b'{"a":' * 101 + b"1" + b"}" * 101,
    ],
)
async def test_what_is_not_json_is_bad_json(ask: Ask, body: bytes) -> None:
    """400 `bad_json`; too deep to be written again counts as that."""
    got = await ask("POST", "/things", **sent(body))
    assert (got.status, got.code) == (400, "bad_json")


async def test_deep_but_bearable_json_fits(ask: Ask) -> None:
    """A hundred levels are taken, and many brackets side by side."""
    deep: Any = 1
    for _ in range(98):
        deep = [deep]
    body = {"someTitle": "x", "context": {"deep": deep, "wide": [[] for _ in range(500)]}}
    assert (await ask("POST", "/things", json=body)).status == 201


async def test_numbers_beyond_a_double_do_not_fit(ask: Ask) -> None:
    """They could not be written again."""
    got = await ask("POST", "/things", **sent(b'{"someTitle": "x", "context": {"a": 1e999}}'))
    assert (got.status, got.fields) == (422, ["context.a"])


async def test_objects_of_callers_are_bounded(ask: Ask) -> None:
    """16 KiB as compact JSON, not a byte more."""
    fits = {"a": "x" * (16 * 1024 - 8)}
    assert len(orjson.dumps(fits)) == 16 * 1024
    assert (await ask("POST", "/things", json={"someTitle": "x", "context": fits})).status == 201
    fits["a"] += "x"
    got = await ask("POST", "/things", json={"someTitle": "x", "context": fits})
    assert (got.status, got.fields) == (422, ["context"])


async def test_a_flood_of_misfits_gets_a_short_answer(ask: Ask) -> None:
    """Neither the number of errors nor a field's name makes the answer large."""
    got = await ask("POST", "/things", json={f"{'k' * 300}{number}": 1 for number in range(500)})
    assert got.status == 422
    assert len(got.raw) < 30_000


@pytest.mark.parametrize(
    "media",
    [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
    ],
)
async def test_a_body_is_json_by_name(ask: Ask, media: str) -> None:
    """415 `unsupported_media_type`."""
    got = await ask("POST", "/things", data=b'{"someTitle": "x"}', headers={"Content-Type": media})
    assert (got.status, got.code) == (415, "unsupported_media_type")


async def test_a_body_without_a_type_is_unsupported(ask: Ask) -> None:
    """Nobody guesses; with a charset of UTF-8 it is JSON, in any case of letters."""
    got = await ask("POST", "/things", data=b"{}", skip_auto_headers=["Content-Type"])
    assert got.code == "unsupported_media_type"
    media = {"Content-Type": "Application/JSON; charset=UTF-8"}
    assert (await ask("POST", "/things", data=b'{"someTitle": "x"}', headers=media)).status == 201


async def chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 65_536


async def test_large_bodies_are_refused(ask: Ask) -> None:
    """413 `too_large` past 256 KiB, with a length and in chunks; the service goes on."""
    edge = b'{"someTitle": "x"}'.ljust(256 * 1024)
    assert (await ask("POST", "/things", **sent(edge))).status == 201
    for body in (edge + b" ", BytesIO(b"x" * 10_000_000), chunks(5), chunks(160)):
        got = await ask("POST", "/things", **sent(body))
        assert (got.status, got.code) == (413, "too_large")
    assert (await ask("POST", "/things", json={"someTitle": "x"})).status == 201


async def test_broken_codings_are_bad_json(ask: Ask) -> None:
    """A body that is not what its Content-Encoding says."""
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    got = await ask("POST", "/things", data=b"not gzip", headers=headers)
    assert (got.status, got.code) == (400, "bad_json")


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


async def test_integers_may_be_written_as_json_schema_allows(ask: Ask) -> None:
    """7.0 is 7."""
    assert (await ask("POST", "/things/named", json={"seq": 7.0})).json == {"seq": 7}
    for seq in (7.5, "7", True, -1, 2**53, 1e300):
        assert (await ask("POST", "/things/named", json={"seq": seq})).status == 422


async def test_only_open_endpoints_need_no_token(ask: Ask) -> None:
    """401 comes before anything is read of the body; with `WWW-Authenticate`."""
    got = await ask("POST", "/things", token=None, **sent(BytesIO(b"x" * 10_000_000)))
    assert (got.status, got.code) == (401, "token_missing")
    assert got.headers["WWW-Authenticate"] == "Bearer"
    got = await ask("DELETE", "/open", token=None)
    assert (got.status, got.raw) == (204, b"")


async def test_a_problem_has_the_shape_of_rfc_9457(ask: Ask, failing: Failing) -> None:
    """Its members and its media type."""
    failing.error = Forbidden("Not you.")
    got = await ask("PATCH", "/failing")
    assert got.headers["Content-Type"].split(";")[0] == "application/problem+json"
    assert got.json == {
        "type": "/docs#problem-forbidden",
        "title": "Forbidden",
        "status": 403,
        "detail": "Not you.",
        "code": "forbidden",
    }


async def test_a_limit_says_when_to_come_back(ask: Ask, failing: Failing) -> None:
    """429 with `Retry-After` in whole seconds."""
    failing.error = RateLimited(retry_after=7)
    got = await ask("PATCH", "/failing")
    assert (got.status, got.code, got.headers["Retry-After"]) == (429, "rate_limited", "7")


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        OSError(errno.ENETUNREACH, "secret"),
        TimeoutError(),
        PoolTimeoutError("secret"),
        asyncpg.CannotConnectNowError("secret"),
        asyncpg.ConnectionDoesNotExistError("secret"),
        asyncpg.InterfaceError("secret"),
        asyncpg.AdminShutdownError("secret"),
        DBAPIError("SELECT secret", {}, asyncpg.TooManyConnectionsError("secret")),
        DBAPIError("SELECT secret", {}, OSError("secret")),
        DBAPIError("SELECT secret", {}, asyncpg.PostgresError("secret"), connection_invalidated=True),
    ],
)
async def test_a_dependency_that_is_away_is_unavailable(ask: Ask, failing: Failing, error: Exception) -> None:
    """503 with `Retry-After`, and nothing of the inside."""
    failing.error = error
    got = await ask("PATCH", "/failing")
    assert (got.status, got.code) == (503, "unavailable")
    assert int(got.headers["Retry-After"]) >= 1
    assert b"secret" not in got.raw


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("secret"),
        ValueError("secret"),
        asyncpg.UniqueViolationError("secret"),
        IntegrityError("INSERT secret", {}, asyncpg.UniqueViolationError("secret")),
    ],
)
async def test_a_bug_is_internal(ask: Ask, failing: Failing, error: Exception) -> None:
    """500 that says nothing of the inside; the next call is answered."""
    failing.error = error
    got = await ask("PATCH", "/failing")
    assert (got.status, got.code) == (500, "internal")
    assert b"secret" not in got.raw
    assert (await ask("GET", "/things")).status == 200


async def test_aiohttp_s_own_refusals_are_problems(ask: Ask, failing: Failing) -> None:
    """It does not matter what raises them; what is no error stays what it is."""
    for error, status, code in (
        (web.HTTPBadRequest(), 400, "bad_request"),
        (web.HTTPRequestEntityTooLarge(1, 2), 413, "too_large"),
        (web.HTTPConflict(), 409, "conflict"),
    ):
        failing.error = error
        got = await ask("PATCH", "/failing")
        assert (got.status, got.code) == (status, code)
    failing.error = web.HTTPFound("/things")
    assert (await ask("PATCH", "/failing", allow_redirects=False)).status == 302


async def test_cancelling_passes_through() -> None:
    """A call that is given up is no failure to answer."""

    async def given_up(_: web.Request) -> web.StreamResponse:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await problems_middleware()(None, given_up)  # type: ignore[arg-type] # no request is looked at


async def test_pages_of_own_origins_may_call(ask: Ask, failing: Failing) -> None:
    """Answers and problems say so, to them alone."""
    failing.error = NotFound()
    for method, path in (("GET", "/things"), ("PATCH", "/failing"), ("GET", "/nothing"), ("PUT", "/things")):
        got = await ask(method, path, headers={"Origin": OWN})
        assert got.headers["Access-Control-Allow-Origin"] == OWN
        assert "Origin" in got.headers["Vary"]
        exposed = got.headers["Access-Control-Expose-Headers"]
        assert {"Idempotency-Replayed", "Retry-After", "X-Request-Id"} <= set(exposed.split(", "))
        assert "Access-Control-Allow-Credentials" not in got.headers
        for origin in ("https://evil.example", "null", OWN + ".evil.example", "http://chat.example.org"):
            got = await ask(method, path, headers={"Origin": origin})
            assert "Access-Control-Allow-Origin" not in got.headers


async def test_preflights_are_answered(ask: Ask) -> None:
    """204 with what may be sent, without a token."""
    headers = {"Origin": OWN, "Access-Control-Request-Method": "POST"}
    got = await ask("OPTIONS", "/things", token=None, headers=headers)
    assert got.status == 204
    assert got.headers["Access-Control-Allow-Origin"] == OWN
    allowed = set(got.headers["Access-Control-Allow-Headers"].split(", "))
    assert {"Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id"} <= allowed
    assert {"GET", "POST", "PATCH", "DELETE"} <= set(got.headers["Access-Control-Allow-Methods"].split(", "))
    got = await ask("OPTIONS", "/things", token=None, headers={**headers, "Origin": "null"})
    assert not [name for name in got.headers if name.startswith("Access-Control-Allow")]
    got = await ask("OPTIONS", "/things", token=None)
    assert (got.status, got.code) == (405, "method_not_allowed")


def test_every_problem_explains_itself() -> None:
    """A title, a stable code, a detail."""
    waiting = [Problem]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        assert kind.code.replace("_", "").isalpha()
        assert kind.code.islower()
        assert 400 <= kind.status < 600
        assert kind.__doc__
    assert ValidationFailed(errors=[{"field": "a", "message": "b"}]).errors


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
