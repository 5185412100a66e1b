"""Refusals of the gateway: each has the code that clients get, and its docstring is the message."""

from typing import Any, ClassVar


class GatewayError(Exception):
    """The gateway failed to handle this."""

    code: ClassVar[str] = "internal"

    @property
    def message(self) -> str:
        """The text for people."""
        return str(self) or str(type(self).__doc__)

    def answer(self) -> dict[str, Any]:
        """Returns the acknowledgement of what was refused."""
        return {"ok": False, "error": {"code": self.code, "message": self.message}}


class InvalidPayloadError(GatewayError):
    """The payload does not fit the event."""

    code = "invalid_payload"


class UnknownEventError(GatewayError):
    """There is no such event."""

    code = "unknown_event"


class UseRestError(GatewayError):
    """Messages are posted to the API: POST /api/chat/messages."""

    code = "use_rest"


class LimitError(GatewayError):
    """More than one may have."""


class RateLimitedError(LimitError):
    """Too many events; wait a moment."""

    code = "rate_limited"


class TooManyRoomsError(LimitError):
    """This socket is in as many chats as one socket may be; leave one first."""

    code = "too_many_rooms"


class TooManySocketsError(LimitError):
    """This user has as many sockets here as one user may; close one first."""

    code = "too_many_sockets"


class NotJoinedError(GatewayError):
    """This socket has not joined that chat."""

    code = "not_joined"


class NotFoundError(GatewayError):
    """There is no such chat, or its member you are not."""

    code = "not_found"


class ForbiddenError(GatewayError):
    """That belongs to another user."""

    code = "forbidden"


class UnavailableError(GatewayError):
    """That cannot be answered now; try again later."""

    code = "unavailable"


class TokenError(GatewayError):
    """The token is refused."""


class TokenMissingError(TokenError):
    """An access token is needed."""

    code = "token_missing"


class TokenInvalidError(TokenError):
    """The access token is not valid."""

    code = "token_invalid"


class TokenExpiredError(TokenError):
    """The access token has expired."""

    code = "token_expired"


def token_error(code: str) -> TokenError:
    """Returns the error with this token code."""
    match code:
        case "token_missing":
            return TokenMissingError()
        case "token_expired":
            return TokenExpiredError()
        case _:
            return TokenInvalidError()
