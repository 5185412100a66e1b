"""Makes two people and two chats to try Roomcast with, through its public REST API."""

from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import structlog

log = structlog.get_logger()

PASSWORD: Final = "roomcast-demo"  # noqa: S105  # meant to be known: it is printed
TITLE: Final = "Alice and Bob"
ASSISTANT_TITLE: Final = "Ask the assistant"
_SECONDS: Final = 10.0


class DemoRefusedError(Exception):
    """The API refused a step of making the demo; the text says which and how."""


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo as it was made: the names that log in with `PASSWORD`, and the ids of the chats."""

    usernames: tuple[str, ...]
    chat_id: str
    assistant_chat_id: str


async def seed(api_url: str) -> Demo | None:
    """Makes the demo's users and chats where they are missing; None when the API refuses it."""
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    async with aiohttp.ClientSession(api_url, timeout=timeout) as http:
        try:
            alice, bob = [await _session(http, username) for username in ("alice", "bob")]
            token, chats = alice["accessToken"], await _chats(http, alice["accessToken"])
            both = {"title": TITLE, "memberIds": [bob["user"]["id"]]}
            alone = {"title": ASSISTANT_TITLE, "assistant": "always"}
            return Demo(
                usernames=("alice", "bob"),
                chat_id=chats.get(TITLE) or await _new_chat(http, token, both),
                assistant_chat_id=chats.get(ASSISTANT_TITLE) or await _new_chat(http, token, alone),
            )
        except (DemoRefusedError, aiohttp.ClientError, TimeoutError, ValueError) as error:
            log.warning("demo.failed", reason=str(error))
            return None


async def _session(http: aiohttp.ClientSession, username: str) -> dict[str, Any]:
    """Logs in, or registers where the name is free."""
    login = {"username": username, "password": PASSWORD}
    async with http.post("/api/auth/login", json=login) as response:
        if response.status == 200:
            return await _answer(response)
    registration = {**login, "displayName": username.capitalize()}
    async with http.post("/api/auth/register", json=registration) as response:
        return await _answer(response)


async def _chats(http: aiohttp.ClientSession, token: str) -> dict[str, str]:
    """Returns the ids of the user's chats by title, the demo's among the last hundred used."""
    async with http.get("/api/chat", params={"limit": 100}, headers=_bearer(token)) as response:
        return {chat["title"]: chat["id"] for chat in (await _answer(response))["items"]}


async def _new_chat(http: aiohttp.ClientSession, token: str, chat: dict[str, Any]) -> str:
    async with http.post("/api/chat", json=chat, headers=_bearer(token)) as response:
        return str((await _answer(response))["id"])


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def _answer(response: aiohttp.ClientResponse) -> dict[str, Any]:
    answer: dict[str, Any] = await response.json(content_type=None)
    if not response.ok:
        said = answer.get("detail") or answer.get("code")
        raise DemoRefusedError(f"{response.method} {response.url.path}: {response.status} {said}")
    return answer
