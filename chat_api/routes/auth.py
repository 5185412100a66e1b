"""`/api/auth`, `/api/me` and `/api/users`: accounts and sessions."""

from typing import Annotated

from aiohttp import web
from pydantic import Field

from chat_api.accounts.accounts import Accounts
from chat_api.accounts.sessions import Session, Sessions, User
from chat_api.accounts.usernames import LONGEST, PATTERN, SHORTEST
from chat_api.http.endpoints import Call, Endpoints, answer
from chat_api.http.fields import ApiModel, DisplayName, Password, text
from chat_api.http.problems import (
    BadCredentials,
    Forbidden,
    NotFound,
    RateLimited,
    TokenExpired,
    TokenInvalid,
    TokenReused,
    UsernameTaken,
)
from shared.http.proxies import Proxies, rate_limit_key


class Registration(ApiModel):
    """A new user; without `displayName` that is the username as typed."""

    username: Annotated[
        str,
        Field(min_length=SHORTEST, max_length=LONGEST, pattern=PATTERN, description="Case is folded."),
    ]
    password: Password
    display_name: DisplayName = Field(default_factory=str)


class Credentials(ApiModel):
    """A username and a password; bounds are looser than at registration: a wrong one is told as wrong."""

    username: Annotated[str, text(1, 255)]
    password: Annotated[str, text(1, 128)]


class Refresh(ApiModel):
    """The refresh token of the last `Session`."""

    refresh_token: Annotated[str, text(1, 4096)]


class UsersQuery(ApiModel):
    """The user to find."""

    username: Annotated[str, text(1, 255, description="The exact username; case is folded.")]


class UserList(ApiModel):
    """The users found."""

    items: list[User]


def auth_endpoints(accounts: Accounts, sessions: Sessions, proxies: Proxies) -> Endpoints:
    """Declares registering, logging in and out, and refreshing."""
    endpoints = Endpoints("Sessions")

    def client_key(request: web.Request) -> str:
        return rate_limit_key(proxies.address(request))

    @endpoints.post(
        "/api/auth/register",
        body=Registration,
        summary="Register",
        description="Makes a user, and logs it in.",
        answers={201: Session},
        problems=[UsernameTaken, Forbidden, RateLimited],
        open=True,
    )
    async def register(call: Call[Registration, None]) -> web.StreamResponse:
        new = call.body
        address = client_key(call.request)
        session = await accounts.register(new.username, new.password, new.display_name, address=address)
        return answer(201, session, _NOT_STORED)

    @endpoints.post(
        "/api/auth/login",
        body=Credentials,
        summary="Log in",
        answers={200: Session},
        problems=[BadCredentials, Forbidden, RateLimited],
        open=True,
    )
    async def login(call: Call[Credentials, None]) -> web.StreamResponse:
        address = client_key(call.request)
        session = await accounts.login(call.body.username, call.body.password, address=address)
        return answer(200, session, _NOT_STORED)

    @endpoints.post(
        "/api/auth/refresh",
        body=Refresh,
        summary="Refresh",
        description="Spends the refresh token for new tokens of the same session. Using a spent one ends "
        "the whole session.",
        answers={200: Session},
        problems=[TokenInvalid, TokenExpired, TokenReused, Forbidden],
        open=True,
    )
    async def refresh(call: Call[Refresh, None]) -> web.StreamResponse:
        return answer(200, await accounts.refresh(call.body.refresh_token), _NOT_STORED)

    @endpoints.post(
        "/api/auth/logout",
        summary="Log out",
        description="Ends the session: its tokens are refused at once, its sockets dropped.",
        answers={204: None},
    )
    async def logout(call: Call[None, None]) -> web.StreamResponse:
        await sessions.end(call.caller)
        return answer(204)

    return endpoints


def user_endpoints(accounts: Accounts) -> Endpoints:
    """Declares showing oneself and finding others."""
    endpoints = Endpoints("Users")

    @endpoints.get("/api/me", summary="Show yourself", answers={200: User}, problems=[NotFound])
    async def me(call: Call[None, None]) -> web.StreamResponse:
        return answer(200, await accounts.user(call.caller.user_id))

    @endpoints.get(
        "/api/users",
        query=UsersQuery,
        summary="Find a user",
        description="None or one, to add a member by name.",
        answers={200: UserList},
    )
    async def find(call: Call[None, UsersQuery]) -> web.StreamResponse:
        return answer(200, UserList(items=await accounts.named(call.query.username)))

    return endpoints


_NOT_STORED = {"Cache-Control": "no-store"}
