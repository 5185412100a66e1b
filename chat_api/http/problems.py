"""Every way in which a call can fail, as callers are told: RFC 9457 problem details.

A class's docstring (or its `words`, where it has some) is the detail that callers read unless the raiser
knows better.
"""
# ruff: noqa: N818 - these name what the caller reads, and are raised to say it

from collections.abc import Mapping, Sequence
from typing import ClassVar, TypedDict

import orjson
from aiohttp import web
from multidict import CIMultiDict

PROBLEM_TYPE = "application/problem+json"


class FieldError(TypedDict):
    """A field that does not fit: its path as the caller wrote it (`memberIds.0`), and why."""

    field: str
    message: str


class Problem(Exception):
    """The call failed."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    words: ClassVar[str] = ""

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.detail = detail or self.explanation()
        super().__init__(self.detail)
        self.errors = list(errors)
        self.headers: CIMultiDict[str] = CIMultiDict(headers or {})

    @classmethod
    def explanation(cls) -> str:
        """Returns the detail of one that is raised without."""
        return cls.words or cls.__doc__ or cls.title

    def response(self) -> web.Response:
        """Makes the answer: `{type, title, status, detail, code, errors?}`."""
        return problem_response(
            status=self.status,
            code=self.code,
            title=self.title,
            detail=self.detail,
            errors=self.errors,
            headers=self.headers,
        )


def problem_response(
    *,
    status: int,
    code: str,
    title: str,
    detail: str,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Makes a problem as it goes over the wire; its `type` leads to its entry on the API's own page."""
    body: dict[str, object] = {
        "type": f"/docs#problem-{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
    }
    if errors:
        body["errors"] = list(errors)
    return web.Response(
        status=status, body=orjson.dumps(body), content_type=PROBLEM_TYPE, headers=headers or None
    )


class BadRequest(Problem):
    """The request is not HTTP that this service understands."""

    status, code, title = 400, "bad_request", "Bad request"


class BadJson(Problem):
    """The body is not JSON in UTF-8."""

    status, code, title = 400, "bad_json", "Not JSON"


class Unauthorized(Problem):
    """The call needs to know who is calling."""

    status, code, title = 401, "unauthorized", "Unauthorized"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class TokenMissing(Unauthorized):
    """The call needs an access token: Authorization: Bearer <token>."""

    code, title = "token_missing", "Token missing"


class TokenInvalid(Unauthorized):
    """The token is not valid, or its session has ended."""

    code, title = "token_invalid", "Token invalid"


class TokenExpired(Unauthorized):
    """The token has expired."""

    code, title = "token_expired", "Token expired"


class TokenReused(Unauthorized):
    """The refresh token was used before, so its session has been ended: log in again."""

    code, title = "token_reused", "Token reused"


class BadCredentials(Unauthorized):
    """There is no such user, or the password is another one."""

    code, title = "bad_credentials", "Bad credentials"


class Forbidden(Problem):
    """The caller may see this but not do this."""

    status, code, title = 403, "forbidden", "Forbidden"


class NotFound(Problem):
    """There is nothing here, or nothing that the caller may see."""

    status, code, title = 404, "not_found", "Not found"


class MethodNotAllowed(Problem):
    """The method does not fit this path; the header Allow says which do."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"


class UsernameTaken(Problem):
    """Another user has this username."""

    status, code, title = 409, "username_taken", "Username taken"


class TooLarge(Problem):
    """The body is larger than 256 KiB."""

    status, code, title = 413, "too_large", "Too large"


class UnsupportedMediaType(Problem):
    """The body has to be JSON: Content-Type: application/json."""

    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class ValidationFailed(Problem):
    """The request does not fit its endpoint; `errors` says where."""

    status, code, title = 422, "validation_failed", "Validation failed"
    words = "What was sent does not fit; errors says where."


class RateLimited(Problem):
    """Too many calls; the header Retry-After says when to call again."""

    status, code, title = 429, "rate_limited", "Rate limited"

    def __init__(self, detail: str | None = None, *, retry_after: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, retry_after))})


class Internal(Problem):
    """Something went wrong here; it has been logged under the id in the header X-Request-Id."""


class Unavailable(Problem):
    """The service cannot answer for the moment; the header Retry-After says when to call again."""

    status, code, title = 503, "unavailable", "Unavailable"

    def __init__(self, detail: str | None = None, *, retry_after: int = 2) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, retry_after))})

    def response(self) -> web.Response:
        """Makes the answer, with which the connection ends: the next may lead to an instance that is well."""
        answer = super().response()
        answer.force_close()
        return answer


class IdempotencyMismatch(Problem):
    """The Idempotency-Key was used for another message: take a new key for each message."""

    status, code, title = 422, "idempotency_mismatch", "Idempotency key reused"


class ReplyNotFound(Problem):
    """The message that `replyTo` names is not one of this chat."""

    status, code, title = 422, "reply_not_found", "Reply not found"
    words = "What replyTo names is not a message of this chat."


class OwnerCannotLeave(Problem):
    """The owner cannot leave the chat; the owner can delete it."""

    status, code, title = 422, "owner_cannot_leave", "Owner cannot leave"


class Deleted(Problem):
    """The message was deleted."""

    status, code, title = 409, "deleted", "Deleted"


class ReplyFinished(Problem):
    """The reply has ended: there is nothing to cancel."""

    status, code, title = 409, "reply_finished", "Reply finished"


class NotAReply(Problem):
    """Only a message of the assistant can be written again."""

    status, code, title = 422, "not_a_reply", "Not a reply"
