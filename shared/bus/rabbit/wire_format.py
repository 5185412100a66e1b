"""Messages as the bytes of their frames, and back: AMQP 0-9-1, sections 1.8.3.7, 2.3.5.2 and 4.2.5.

A message is published as a method frame, a content header and frames of its body. Of one that is delivered
the content header is read; `frame_tap` finds the frames.
"""

from collections.abc import Mapping
from functools import lru_cache
from struct import Struct
from struct import error as StructError  # noqa: N812  it is a class
from typing import Any, Final

from pamqp import decode, encode

from shared.bus.rabbit.frame_tap import BODY, FRAME, FRAME_END, HEADER, METHOD
from shared.bus.rabbit.messages import Outgoing
from shared.events import UndecodableEventError

_BASIC: Final = 60
_PUBLISH: Final = _BASIC.to_bytes(2) + (40).to_bytes(2) + bytes(2)
_CONTENT: Final = Struct(">HHQH")
_FLAGS_AT: Final = 12
_CONTENT_TYPE: Final = 0x8000
_CONTENT_ENCODING: Final = 0x4000
_HEADERS: Final = 0x2000
_DELIVERY_MODE: Final = 0x1000
_MESSAGE_ID: Final = 0x0080
_MORE_FLAGS: Final = 0x0001
_TRANSIENT: Final = b"\x01"
_PERSISTENT: Final = b"\x02"
_STRING, _INT, _LONG_INT, _ARRAY = b"SIlA"
_SHORT: Final = Struct(">H")
_LONG: Final = Struct(">I")
_SIGNED_LONG: Final = Struct(">i")
_SIGNED_LONG_LONG: Final = Struct(">q")
_INTEGER: Final = Struct(">Bq")
_BIGGEST: Final = 2**63
_FRAME_EXTRA: Final = FRAME.size + len(FRAME_END)


def frames_of(message: Outgoing, *, channel: int, frame_max: int, message_id: str = "") -> bytes:
    """Returns the frames that publish `message` on a channel, none of them of more than `frame_max` bytes.

    `message_id` tells a message from others, if the broker gives it back.
    """
    method = _method(message.exchange, message.routing_key, message.mandatory)
    header = _header(message, message_id)
    parts = [_framed(METHOD, channel, method), _framed(HEADER, channel, header)]
    body, most = message.body, frame_max - _FRAME_EXTRA
    parts += [_framed(BODY, channel, body[at : at + most]) for at in range(0, len(body), most)]
    return b"".join(parts)


def content_type_and_headers(payload: bytes) -> tuple[str | None, dict[str, Any]]:
    """Returns the `content-type` and the `headers` of a content header; what comes after is not read.

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
            content_type, at = _read_short_string(payload, at)
        if flags & _CONTENT_ENCODING:
            _, at = _read_short_string(payload, at)
        if flags & _HEADERS:
            return content_type, _read_table(payload, at)
    except (IndexError, StructError, ValueError, RecursionError) as error:
        raise UndecodableEventError(f"the content header cannot be read: {error}") from None
    return content_type, {}


def _framed(kind: int, channel: int, payload: bytes) -> bytes:
    return FRAME.pack(kind, channel, len(payload)) + payload + FRAME_END


@lru_cache(maxsize=1024)
def _method(exchange: str, routing_key: str, mandatory: bool) -> bytes:  # noqa: FBT001  # the cache's key
    return _PUBLISH + _short_string(exchange) + _short_string(routing_key) + bytes([mandatory])


def _header(message: Outgoing, message_id: str) -> bytes:
    """Returns the payload of the content header: properties stand in the order of their flags."""
    flags = _CONTENT_TYPE | _DELIVERY_MODE
    properties = [_short_string(message.content_type)]
    if message.headers:
        flags |= _HEADERS
        properties.append(_table(message.headers))
    properties.append(_PERSISTENT if message.persistent else _TRANSIENT)
    if message_id:
        flags |= _MESSAGE_ID
        properties.append(_short_string(message_id))
    return _CONTENT.pack(_BASIC, 0, len(message.body), flags) + b"".join(properties)


def _table(headers: Mapping[str, Any]) -> bytes:
    return _long(b"".join([_short_string(name) + _value(value) for name, value in headers.items()]))


def _value(value: Any) -> bytes:
    """Returns one value with its type: those of events are written here, the rest by pamqp."""
    if isinstance(value, str):
        return b"S" + _long(value.encode())
    if isinstance(value, bool):
        return b"t\x01" if value else b"t\x00"
    if isinstance(value, int) and -_BIGGEST <= value < _BIGGEST:
        return _INTEGER.pack(_LONG_INT, value)
    if isinstance(value, list):
        return b"A" + _long(b"".join(map(_value, value)))
    return encode.encode_table_value(value)


def _long(text: bytes) -> bytes:
    return _LONG.pack(len(text)) + text


@lru_cache(maxsize=1024)
def _short_string(text: str) -> bytes:
    """Returns the text with its length, which is one octet.

    Raises:
        ValueError: it has more than 255 bytes.
    """
    encoded = text.encode()
    if len(encoded) > 255:
        raise ValueError(f"{text!r} has more than 255 bytes")
    return bytes([len(encoded)]) + encoded


def _read_table(data: bytes, at: int) -> dict[str, Any]:
    end = _end_of_long(data, at)
    at += 4
    table: dict[str, Any] = {}
    while at < end:
        name, at = _read_short_string(data, at)
        table[name], at = _read_value(data, at, end)
    return table


def _read_value(data: bytes, at: int, end: int) -> tuple[Any, int]:
    """Returns one value and where it ends: those of events are read here, the rest by pamqp."""
    kind = data[at]
    if kind == _STRING:
        after = _end_of_long(data, at + 1)
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
        after = _end_of_long(data, at + 1)
        values: list[Any] = []
        at += 5
        while at < after:
            value, at = _read_value(data, at, after)
            values.append(value)
        return values, after
    consumed, value = decode.embedded_value(data[at:end])
    return value, at + consumed


def _end_of_long(data: bytes, at: int) -> int:
    """Returns the end of what begins at `at` with its length, in four octets."""
    end = at + 4 + int(_LONG.unpack_from(data, at)[0])
    if end > len(data):
        raise IndexError(f"{end} bytes are needed, {len(data)} are there")
    return end


def _read_short_string(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    if end > len(data):
        raise IndexError(f"{end} bytes are needed, {len(data)} are there")
    return data[at + 1 : end].decode(), end
