"""Checks the payloads that clients send with their events."""

from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from shared.ids import canonical_uuid
from ws_gateway.errors import InvalidPayloadError, NotFoundError

MAX_SEQ: Final = 2**53 - 1
"""What the API takes, and JavaScript can tell exactly."""


class _Payload(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, alias_generator=to_camel, hide_input_in_errors=True
    )

    @classmethod
    def of(cls, arguments: list[Any]) -> Self:
        """Returns the payload of an event that has exactly one argument, an object.

        Raises:
            InvalidPayloadError: it does not fit.
        """
        try:
            return cls.model_validate(only(arguments))
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "payload"
            raise InvalidPayloadError(f"{where}: {first['msg']}") from None


class JoinChat(_Payload):
    """Payload of `join-chat`."""

    chat_id: str
    after_seq: int | None = Field(default=None, ge=0, le=MAX_SEQ)

    @classmethod
    def of(cls, arguments: list[Any]) -> Self:
        """Returns the payload, from a chat id or an object; its chat id is in canonical form.

        Raises:
            InvalidPayloadError: it does not fit.
            NotFoundError: no chat has an id like this.
        """
        given = only(arguments)
        asked = super().of([{"chatId": given}] if isinstance(given, str) else arguments)
        canonical = canonical_uuid(asked.chat_id)
        if canonical is None:
            raise NotFoundError
        if canonical == asked.chat_id:
            return asked
        return asked.model_copy(update={"chat_id": canonical})


class Typing(_Payload):
    """Payload of `typing`."""

    chat_id: str
    is_typing: bool


class RefreshToken(_Payload):
    """Payload of `refresh-token`."""

    token: str


def only(arguments: list[Any]) -> Any:
    """Returns the one argument of an event.

    Raises:
        InvalidPayloadError: there are none or several.
    """
    if len(arguments) != 1:
        raise InvalidPayloadError("exactly one argument is expected")
    return arguments[0]


def chat_id_of(arguments: list[Any]) -> str:
    """Returns the one argument, a chat id; in canonical form where it is a UUID.

    Raises:
        InvalidPayloadError: it is no text.
    """
    given = only(arguments)
    if not isinstance(given, str):
        raise InvalidPayloadError("a chat id is expected")
    return canonical_uuid(given) or given
