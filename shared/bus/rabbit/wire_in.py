"""The properties of a message, read from its content header frame: AMQP 0-9-1, sections 2.3.5.2 and 4.2.5."""

from struct import Struct
from struct import error as StructError  # noqa: N812  it is a class
from typing import Any, Final

from pamqp import decode

from shared.events import UndecodableEventError

_FLAGS_AT: Final = 12
_MORE_FLAGS: Final = 0x0001
_CONTENT_TYPE: Final = 0x8000
_CONTENT_ENCODING: Final = 0x4000
_HEADERS: Final = 0x2000
_SHORT: Final = Struct(">H")
_LONG: Final = Struct(">I")
_SIGNED_LONG: Final = Struct(">i")
_SIGNED_LONG_LONG: Final = Struct(">q")
_STRING, _INT, _LONG_INT, _ARRAY = b"SIlA"


def content_type_and_headers(payload: bytes) -> tuple[str | None, dict[str, Any]]:
    """The `content-type` and the `headers` of a message; the properties after these are not looked at.

    Raises:
        UndecodableEventError: it breaks off, or a header has a type that is not known.
    """
    try:
        (flags,) = _SHORT.unpack_from(payload, _FLAGS_AT)
        at, more = _FLAGS_AT + 2, flags
        while more & _MORE_FLAGS:
            (more,) = _SHORT.unpack_from(payload, at)
            at += 2
        content_type = None
        if flags & _CONTENT_TYPE:
            content_type, at = _short_string(payload, at)
        if flags & _CONTENT_ENCODING:
            _, at = _short_string(payload, at)
        if flags & _HEADERS:
            return content_type, _table(payload, at)
    except (IndexError, StructError, ValueError, RecursionError) as error:
        raise UndecodableEventError(f"the content header cannot be read: {error}") from None
    return content_type, {}


def _table(data: bytes, at: int) -> dict[str, Any]:
    end = _end(data, at)
    at += 4
    table: dict[str, Any] = {}
    while at < end:
        name, at = _short_string(data, at)
        table[name], at = _value(data, at, end)
    return table


def _value(data: bytes, at: int, end: int) -> tuple[Any, int]:
    """One value with its type, of which those of events are read here, and the rest by pamqp."""
    kind = data[at]
    if kind == _STRING:
        after = _end(data, at + 1)
        text = data[at + 5 : after]
        try:
            return text.decode(), after
        except UnicodeDecodeError:
            return text, after
    if kind == _LONG_INT:
        return _SIGNED_LONG_LONG.unpack_from(data, at + 1)[0], at + 9
    if kind == _INT:
        return _SIGNED_LONG.unpack_from(data, at + 1)[0], at + 5
    if kind == _ARRAY:
        after = _end(data, at + 1)
        values: list[Any] = []
        at += 5
        while at < after:
            value, at = _value(data, at, after)
            values.append(value)
        return values, after
    consumed, value = decode.embedded_value(data[at:end])
    return value, at + consumed


def _end(data: bytes, at: int) -> int:
    """Where what begins at `at`, with its length, ends."""
    end = at + 4 + int(_LONG.unpack_from(data, at)[0])
    if end > len(data):
        raise IndexError(f"{end} bytes are needed, {len(data)} are there")
    return end


def _short_string(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    if end > len(data):
        raise IndexError(f"{end} bytes are needed, {len(data)} are there")
    return data[at + 1 : end].decode(), end
