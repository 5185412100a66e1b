"""Endpoints of a made-up API, and a client's answers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import orjson
from aiohttp import web
from pydantic import Field

from chat_api.http.endpoints import Call, Caller, Endpoints, answer
from chat_api.http.fields import ApiModel, JsonObject, Seq, text
from chat_api.http.problems import NotFound, TokenMissing

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


def sent(data: object) -> dict[str, Any]:
    """A body as it is, said to be JSON."""
    return {"data": data, "headers": {"Content-Type": "application/json"}}
