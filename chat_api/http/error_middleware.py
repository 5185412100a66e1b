"""The middleware that answers every failure of a call with a problem."""

from http import HTTPStatus

import asyncpg
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from chat_api.http.problems import (
    BadRequest,
    Internal,
    MethodNotAllowed,
    NotFound,
    Problem,
    TooLarge,
    Unavailable,
    problem_response,
)
from shared.auth.jwks import KeysUnavailableError

log = structlog.get_logger()

_TRANSIENT_SQLSTATES = ("08", "53", "57", "40", "25006", "25P03", "55P03")
"""Connection lost, resources short, shut down, serialization or deadlock, read-only replica, silent for too
long in a transaction, lock not got."""


def problems_middleware() -> Middleware:
    """Returns what answers `Problem`, aiohttp's own refusals, a dependency that is away, and bugs."""

    @web.middleware
    async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Problem as problem:
            return problem.response()
        except web.HTTPException as refusal:
            return _of_aiohttp(refusal)
        except Exception as error:  # noqa: BLE001 - the last place where a failure can become an answer
            return _unexpected(error, request).response()

    return answer_problems


def _of_aiohttp(refusal: web.HTTPException) -> web.StreamResponse:
    match refusal:
        case web.HTTPNotFound():
            return NotFound().response()
        case web.HTTPMethodNotAllowed():
            return MethodNotAllowed(headers={"Allow": refusal.headers["Allow"]}).response()
        case web.HTTPRequestEntityTooLarge():
            return TooLarge().response()
        case web.HTTPBadRequest():
            return BadRequest().response()
        case web.HTTPError():
            return _with_its_status(HTTPStatus(refusal.status))
        case _:
            raise refusal


def _with_its_status(status: HTTPStatus) -> web.Response:
    return problem_response(
        status=status,
        code=status.name.lower(),
        title=status.phrase,
        detail=status.description or status.phrase,
    )


def _unexpected(error: Exception, request: web.Request) -> Problem:
    if is_transient(error):
        log.warning("http.unavailable", method=request.method, path=request.path, error=repr(error)[:500])
        return Unavailable()
    log.error("http.failed", method=request.method, path=request.path, exc_info=error)
    return Internal()


def is_transient(error: BaseException) -> bool:
    """Returns whether a dependency is away for the moment, so that the same call may succeed soon."""
    match error:
        case PoolTimeoutError() | InterfaceError() | RedisError() | KeysUnavailableError():
            return True
        case DBAPIError(connection_invalidated=True):
            return True
        case DBAPIError(orig=BaseException() as cause):
            return is_transient(cause) or _sqlstate(cause).startswith(_TRANSIENT_SQLSTATES)
        case asyncpg.InterfaceError() | asyncpg.InternalClientError() | OSError():  # so is TimeoutError
            return True
        case asyncpg.PostgresError():
            return _sqlstate(error).startswith(_TRANSIENT_SQLSTATES)
        case _:
            return False


def _sqlstate(error: BaseException) -> str:
    return str(getattr(error, "sqlstate", None) or "")
