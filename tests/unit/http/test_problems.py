"""Problems: whatever goes wrong in a handler is answered in the shape of RFC 9457."""

import asyncio
import errno

import asyncpg
import pytest
from aiohttp import web
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from unit.http.endpoints import Ask, Failing

from chat_api.http.error_middleware import problems_middleware
from chat_api.http.problems import Forbidden, Problem, RateLimited, ValidationFailed


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
