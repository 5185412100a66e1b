"""Calls the REST API, and turns refusals into errors for a person."""

from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import orjson

TIMEOUT: Final = aiohttp.ClientTimeout(total=20, sock_connect=5)


class ChatError(Exception):
    """The terminal client cannot do what it was asked for; the text tells the person at it why."""


class UnreachableError(ChatError):
    """The API does not answer."""


class RefusedError(ChatError):
    """The API refused a call.

    Attributes:
        status: of the answer, 400 or above.
        code: the problem's stable word, "" when the answer was no problem of the API's.
        retry_after: seconds after which another attempt may succeed; None where it would not.
    """

    def __init__(self, status: int, code: str, text: str, retry_after: float | None) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.retry_after = retry_after


class Rest:
    """A client of the API at `url`."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self.url = url.rstrip("/")

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        **query: str | int,
    ) -> Any:
        """Returns the decoded answer; None when it has no body.

        Raises:
            UnreachableError: there was no answer, or none that is JSON.
            RefusedError: the answer was a problem.
        """
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        try:
            async with self._http.request(
                method,
                self.url + path,
                data=None if body is None else orjson.dumps(body),
                headers={**sent, **(headers or {})},
                params=query,
                timeout=TIMEOUT,
            ) as response:
                return _answer(response, await response.read())
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
            raise UnreachableError(self._no_answer(error)) from error

    def _no_answer(self, error: Exception) -> str:
        match error:
            case aiohttp.InvalidURL():
                return f"{self.url} is no URL of an API. Give one like http://127.0.0.1:8000 with --api-url."
            case orjson.JSONDecodeError():
                return f"What answers at {self.url} is not Roomcast's API. Give its address with --api-url."
            case TimeoutError():
                reason = "took too long"
            case aiohttp.ClientConnectorError():
                reason = error.strerror or str(error.os_error)
            case _:
                reason = str(error) or type(error).__name__
        return (
            f"The API does not answer at {self.url} ({reason}). "
            "Start Roomcast with `roomcast up` (or `make run`), or give another address with --api-url."
        )


def _answer(response: aiohttp.ClientResponse, body: bytes) -> Any:
    if response.status < 400:
        return orjson.loads(body) if body else None
    problem: Any = None
    if response.content_type.endswith("json"):
        problem = orjson.loads(body)
    if not isinstance(problem, dict):
        problem = {}
    text = str(problem.get("detail") or problem.get("title") or f"HTTP {response.status} {response.reason}")
    errors = problem.get("errors")
    if isinstance(errors, list) and errors:
        text += f" ({'; '.join(map(_field_error, errors))})"
    raise RefusedError(response.status, str(problem.get("code", "")), text, _retry_after(response))


def _field_error(error: object) -> str:
    if not isinstance(error, dict):
        return str(error)
    return ": ".join(str(value) for value in error.values())


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    if response.status not in {429, 502, 503, 504}:
        return None
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 1.0
