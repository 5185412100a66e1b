"""A REST client for the tests: thin, so that a test sees statuses, headers and bodies as they are."""

import asyncio
import itertools
import secrets
from dataclasses import dataclass, field
from typing import Any, Final, Self

import aiohttp
import orjson

_numbers: Final = itertools.count(1)
_RUN: Final = secrets.token_hex(3)
PASSWORD: Final = "correct horse battery"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; `json` is None where the body is not JSON."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        """The body, decoded; None when there is none or it is something else."""
        return orjson.loads(self.raw) if "json" in self.headers.get("content-type", "") else None

    @property
    def code(self) -> Any:
        """A problem's `code`, or None."""
        return self.json.get("code") if isinstance(self.json, dict) else None

    def expect(self, status: int) -> Any:
        """The body, after a check of the status."""
        assert self.status == status, (self.status, self.raw[:2_000])
        return self.json


class Api:
    """One API address; `async with` opens its connections."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._http is not None
        await self._http.close()

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
    ) -> Answer:
        """One request: `body` as JSON, or `data` as it is."""
        assert self._http is not None
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if body is not None:
            data = orjson.dumps(body)
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        async with self._http.request(method, self.url + path, data=data, headers=sent) as response:
            names = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, names, await response.read())

    async def register(self, name: str) -> "Person":
        """A new user whose username starts with `name`."""
        username = f"{name}-{_RUN}-{next(_numbers)}"
        account = {"username": username, "password": PASSWORD, "displayName": name.title()}
        session = (await self.call("POST", "/api/auth/register", account)).expect(201)
        return Person(self, session)


@dataclass(slots=True)
class Person:
    """A user with a session, and what a user does."""

    api: Api
    session: dict[str, Any]
    user: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.user = self.session["user"]

    @property
    def id(self) -> str:
        """The user id."""
        return str(self.user["id"])

    @property
    def token(self) -> str:
        """The access token."""
        return str(self.session["accessToken"])

    def through(self, api: Api) -> "Person":
        """The same user and session at another API instance."""
        return Person(api, self.session)

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """One request with this user's token."""
        return await self.api.call(method, path, body, token=self.token, **more)

    async def get(self, path: str) -> Any:
        """The body of a GET that must succeed."""
        return (await self.call("GET", path)).expect(200)

    async def open_chat(self, *others: "Person", **fields: Any) -> str:
        """A new chat with `others`, silent unless `assistant` says otherwise; its id."""
        chat = {"title": "A chat", "memberIds": [other.id for other in others], "assistant": "off", **fields}
        return str((await self.call("POST", "/api/chat", chat)).expect(201)["id"])

    async def post(self, chat_id: str, content: str, *, key: str | None = None, **fields: Any) -> Answer:
        """Posts a message."""
        headers = {} if key is None else {"Idempotency-Key": key}
        message = {"chatId": chat_id, "content": content, **fields}
        return await self.call("POST", "/api/chat/messages", message, headers=headers)

    async def say(self, chat_id: str, content: str, **fields: Any) -> Any:
        """Posts a message that must be taken; the `Message`."""
        return (await self.post(chat_id, content, **fields)).expect(201)

    async def say_all(self, chat_id: str, contents: list[str]) -> list[Any]:
        """Posts messages one after the other; the `Message`s."""
        return [await self.say(chat_id, content) for content in contents]

    async def say_at_once(self, chat_id: str, contents: list[str]) -> list[Any]:
        """Posts messages all at the same time; the `Message`s, as given."""
        return await asyncio.gather(*(self.say(chat_id, content) for content in contents))
