"""Endpoints: declared with their models, checked before they are called, described by the same declaration.

A route module makes `Endpoints("Chats")` and decorates its handlers; `add_endpoints` puts them into an
application. A handler gets a `Call` in which everything has been checked, and answers or raises a `Problem`.
"""

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Generic, Protocol, Required, TypedDict, TypeVar, Unpack

from aiohttp import web
from pydantic import BaseModel

from chat_api.http.bodies import read_json
from chat_api.http.parameters import header_reader, path_values, query_reader, validated
from chat_api.http.problems import Problem

B = TypeVar("B", bound=BaseModel | None)
Q = TypeVar("Q", bound=BaseModel | None)

_NO_PARAMETERS: Final[Mapping[str, str]] = MappingProxyType({})
_PATH_PARAMETER: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Caller:
    """The user who calls, as the access token says; the token expires at `expires_at` (Unix seconds)."""

    user_id: str
    session_id: str
    name: str
    expires_at: int


NOBODY: Final = Caller(user_id="", session_id="", name="", expires_at=0)
"""The caller of an open endpoint."""


class Authenticator(Protocol):
    """Authenticates callers by their tokens."""

    async def authenticate(self, authorization: str | None, *, session_checked: bool) -> Caller:
        """Returns the sender of an `Authorization` header; `session_checked`: the endpoint does that itself.

        Raises:
            TokenMissing, TokenInvalid, TokenExpired, Unavailable: nobody who may call, or not known now.
        """


@dataclass(frozen=True, slots=True)
class Call(Generic[B, Q]):
    """A call that fits its endpoint.

    Attributes:
        body, query: the endpoint's models, or None where it has none.
        path: the path's parameters; ids of chats, messages and replies in lower case.
        headers: those of the endpoint's declared headers that were sent.
    """

    request: web.Request
    caller: Caller
    body: B
    query: Q
    path: Mapping[str, str]
    headers: Mapping[str, str]


Operation = Callable[[Call[B, Q]], Awaitable[web.StreamResponse]]


class Declared(TypedDict, total=False):
    """The declaration of an endpoint, beside its path, body and query.

    Attributes:
        answers: the model of each status it answers with; None for no body.
        problems: those it raises beyond what every endpoint may.
        headers: request headers it reads, each with the type that it has to fit.
        open: needs no token.
        session_checked: finds out itself whether the caller's session has ended.
    """

    summary: Required[str]
    answers: Required[Mapping[int, type[BaseModel] | None]]
    description: str
    problems: Sequence[type[Problem]]
    headers: Mapping[str, Any]
    open: bool
    session_checked: bool


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path."""

    tag: str
    method: str
    path: str
    body: type[BaseModel] | None
    query: type[BaseModel] | None
    declared: Declared
    operation: Operation[Any, Any]

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names in its path."""
        return tuple(_PATH_PARAMETER.findall(self.path))


class Endpoints:
    """The endpoints of one topic, in the order in which they are described."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.all: list[Endpoint] = []

    def get(
        self, path: str, *, query: type[Q] | None = None, **declared: Unpack[Declared]
    ) -> Callable[[Operation[None, Q]], Operation[None, Q]]:
        """Declares `GET path`, and HEAD with it."""
        return self._add("GET", path, None, query, declared)

    def post(
        self,
        path: str,
        *,
        body: type[B] | None = None,
        query: type[Q] | None = None,
        **declared: Unpack[Declared],
    ) -> Callable[[Operation[B, Q]], Operation[B, Q]]:
        """Declares `POST path`."""
        return self._add("POST", path, body, query, declared)

    def patch(
        self,
        path: str,
        *,
        body: type[B] | None = None,
        query: type[Q] | None = None,
        **declared: Unpack[Declared],
    ) -> Callable[[Operation[B, Q]], Operation[B, Q]]:
        """Declares `PATCH path`."""
        return self._add("PATCH", path, body, query, declared)

    def delete(
        self, path: str, *, query: type[Q] | None = None, **declared: Unpack[Declared]
    ) -> Callable[[Operation[None, Q]], Operation[None, Q]]:
        """Declares `DELETE path`."""
        return self._add("DELETE", path, None, query, declared)

    def _add(
        self, method: str, path: str, body: Any, query: Any, declared: Declared
    ) -> Callable[[Operation[B, Q]], Operation[B, Q]]:
        def declare(operation: Operation[B, Q]) -> Operation[B, Q]:
            self.all.append(Endpoint(self.tag, method, path, body, query, declared, operation))
            return operation

        return declare


def add_endpoints(app: web.Application, groups: Sequence[Endpoints], *, authenticator: Authenticator) -> None:
    """Puts the endpoints into `app`."""
    paths = {endpoint.path for group in groups for endpoint in group.all}
    for group in groups:
        for endpoint in group.all:
            handler = _handler(endpoint, authenticator)
            pattern = _pattern(endpoint.path, paths)
            if endpoint.method == "GET":
                app.router.add_get(pattern, handler)
            else:
                app.router.add_route(endpoint.method, pattern, handler)


def _pattern(path: str, paths: Collection[str]) -> str:
    """Returns the path as the router matches it.

    A word that stands beside an id in another path is no id there. So DELETE `/api/chat/messages` is 405
    and not a missing chat.
    """

    def parameter(name: re.Match[str]) -> str:
        before = path[: name.start()]
        words = {other[len(before) :].partition("/")[0] for other in paths if other.startswith(before)}
        beside = "|".join(sorted(re.escape(word) for word in words if "{" not in word))
        return f"{{{name[1]}:(?!(?:{beside})(?:/|$))[^/]+}}" if beside else name[0]

    return _PATH_PARAMETER.sub(parameter, path)


def answer(
    status: int, content: BaseModel | bytes | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Makes an answer of a model, of JSON bytes made already, or of nothing."""
    if content is None:
        return web.Response(status=status, headers=headers)
    body = content if isinstance(content, bytes) else content.model_dump_json(by_alias=True).encode()
    return web.Response(status=status, body=body, headers=headers, content_type="application/json")


def _handler(
    endpoint: Endpoint, authenticator: Authenticator
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Returns what checks a request before it calls the operation: token, path, headers, query, body."""
    declared, operation, body_model = endpoint.declared, endpoint.operation, endpoint.body
    is_open = declared.get("open", False)
    session_checked = declared.get("session_checked", False)
    has_parameters = bool(endpoint.parameters)
    read_query = query_reader(endpoint.query)
    read_headers = header_reader(declared.get("headers", {}))

    async def handle(request: web.Request) -> web.StreamResponse:
        caller = NOBODY
        if not is_open:
            authorization = request.headers.get("Authorization")
            caller = await authenticator.authenticate(authorization, session_checked=session_checked)
        path = path_values(request) if has_parameters else _NO_PARAMETERS
        headers = read_headers(request)
        query = read_query(request)
        body = None if body_model is None else validated(body_model, await read_json(request))
        return await operation(Call(request, caller, body, query, path, headers))

    return handle
